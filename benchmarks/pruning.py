"""Structured pruning beside torch-pruning 1.6.1: accuracy at equal MACs and equal recovery, and what each can cut.

    pip install --no-deps --target pruning-packages torch-pruning==1.6.1
    python examples/fetch.py fashion-mnist mobilenetv2 photos
    PYTHONPATH=pruning-packages python benchmarks/pruning.py structures
    PYTHONPATH=pruning-packages python benchmarks/pruning.py fashion [--remove 50] [--steps 600] [--allocation global]
    PYTHONPATH=pruning-packages python benchmarks/pruning.py mobilenetv2 --size 128 --remove 30 --steps 300 --batch 8
    PYTHONPATH=pruning-packages python benchmarks/pruning.py sentiment --samples 4096 --steps 150 --batch 16

Both tools get the same trained weights, cut channels by L2 magnitude until the same share of the MACs is gone (counted
by us on the exported graphs; multiples of 8, at least a tenth of each layer stays), and what is left imitates the
original with the same settings, samples and seed. torch-pruning's nets are exported for that. Its magnitude is the
mean of the squared norms of a group's tensors and of the gains of BatchNormalization; ours is the mean of the norms of
the exported tensors. torch-pruning also gets a net with BatchNormalization folded into the convolutions. Lines that
say "least squares" and "default" (Fisher scores, least squares) use what only we have; the recovery is the same. Of the
sentiment encoder both cut heads, neurons of the feed-forward layers and the width between layers, to any number.

Accuracy is top-1 on the evaluation set, in brackets agreement with the original and SQNR; analysis is in seconds of the
processor. ``structures`` cuts half of everything in nets that are hard to prune.
"""

import argparse
import copy
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pruning_cases import Case, fold_batch_norm, open_case, to_model
from pruning_nets import SUBJECTS, cut_half, torch_pruning_half
from torch import nn

from compress.data.metrics import load_metric
from compress.distill.choice import DistillSettings
from compress.distill.imitation import imitate
from compress.measure.cost import count_cost, sum_cost
from compress.measure.fidelity import compare_outputs
from compress.measure.score import measure_score
from compress.model import Model, TensorSpec
from compress.prune.coupling import analyse
from compress.prune.settings import PruneSettings
from compress.prune.step import prune
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target

SEED, MULTIPLE, FLOOR = 0, 8, 0.1
FIRST = "torch-pruning"
Line = tuple[str, Callable[[float], Model]]
"""Name, and what cuts at least a share of the MACs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fashion", "mobilenetv2", "sentiment", "structures"))
    parser.add_argument("--remove", type=float, default=50, help="percent of the MACs")
    parser.add_argument("--allocation", choices=("global", "uniform"), default="global")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--samples", type=int, default=16_384, help="without labels, of fashion and sentiment")
    parser.add_argument("--size", type=int, default=224, help="mobilenetv2: pixels of a side")
    parser.add_argument("--evaluated", type=int, default=0, help="samples of the evaluation set, 0 for all")
    parser.add_argument("--only", default="", help="lines of the table whose names begin so, with commas between")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.what == "structures":
        compare_structures()
        return
    case = open_case(options.what, samples=options.samples, size=options.size, evaluated=options.evaluated)
    compare_accuracy(case, options)


def compare_structures() -> None:
    """Print what each tool does to nets that are hard to prune."""
    print(f"{'half of every layer':26} {'torch-pruning 1.6.1':44} here")
    for name, subject in SUBJECTS.items():
        module, specs = _seeded(subject.make), (TensorSpec("x", "float32", ("batch", *subject.shape)),)
        theirs = torch_pruning_half(module, torch.randn(2, *subject.shape), subject.heads)
        print(f"{name:26} {theirs:44} {cut_half(to_model(module, specs))}", flush=True)


def compare_accuracy(case: Case, options: argparse.Namespace) -> None:
    """Print the table of one net."""
    with tempfile.TemporaryDirectory() as folder:
        whole = sum_cost(count_cost(case.model))
        print(f"original: {accuracy(case, case.model)}; {whole.macs:,} MACs, {whole.parameters:,} parameters")
        print(
            f"analysis: torch-pruning {analysis_seconds(case):.2f} s, here {_timed(lambda: analyse(case.model)):.2f} s"
        )
        print(f"{'':28}{'MACs':>6} {'params':>7} {'cut':>28} {'after recovery':>28}")
        # The first line decides how much goes in ours: torch-pruning goes past what it is asked for.
        share = options.remove / 100
        for name, make in (*their_lines(case, options), *our_lines(case, options.allocation, Path(folder))):
            if name != FIRST and options.only and not name.startswith(tuple(options.only.split(","))):
                continue
            try:
                model = make(share)
            except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
                print(f"{name:28}fails: {type(error).__name__}: {' '.join(str(error).split())[:90]}", flush=True)
                continue
            left = sum_cost(count_cost(model))
            if name == FIRST:
                share = 1 - left.macs / whole.macs
            shares = f"{left.macs / whole.macs:6.1%} {left.parameters / whole.parameters:7.1%}"
            cut = accuracy(case, model)
            print(f"{name:28}{shares} {cut:>28} {accuracy(case, recover(case, model, options)):>28}", flush=True)


def their_lines(case: Case, options: argparse.Namespace) -> Iterator[Line]:
    """Yield torch-pruning's lines of the table."""
    yield FIRST, lambda _: their_cut(case, case.module, options)
    if any(isinstance(part, nn.BatchNorm2d) for part in case.module.modules()):
        yield f"{FIRST}, folded", lambda _: their_cut(case, fold_batch_norm(case.module), options)


def our_lines(case: Case, allocation: str, folder: Path) -> Iterator[Line]:
    """Yield our lines of the table."""
    multiple = 1 if case.heads(case.module) else MULTIPLE
    shared = {"allocation": allocation, "multiple": multiple, "floor": FLOOR, "steps": 0}
    l2 = {**shared, "importance": "l2", "aggregation": "mean", "normalisation": "mean"}
    yield "here", lambda share: our_cut(case, {**l2, "update": "none"}, share, folder)
    yield "here, least squares", lambda share: our_cut(case, {**l2, "update": "least-squares"}, share, folder)
    yield "here, default", lambda share: our_cut(case, shared, share, folder)


def their_cut(case: Case, module: nn.Module, options: argparse.Namespace) -> Model:
    """Return the graph of a module that torch-pruning cut, little by little, until the MACs were gone."""
    import torch_pruning

    module = copy.deepcopy(module).eval()
    example, heads = case.example(), case.heads(module)
    whole, _ = torch_pruning.utils.count_ops_and_params(module, example)
    pruner = torch_pruning.pruner.BasePruner(
        module, example, importance=torch_pruning.importance.MagnitudeImportance(p=2),
        global_pruning=options.allocation == "global", pruning_ratio=1.0, max_pruning_ratio=1 - FLOOR,
        iterative_steps=200, round_to=None if heads else MULTIPLE, ignored_layers=[_last_linear(module)],
        num_heads=heads, prune_num_heads=bool(heads), prune_head_dims=not heads,
        head_pruning_ratio=1.0 if heads else 0.0,
    )  # fmt: skip
    for _ in range(pruner.iterative_steps):
        pruner.step()
        if torch_pruning.utils.count_ops_and_params(module, example)[0] <= (1 - options.remove / 100) * whole:
            break
    graph: Model = to_model(module, case.specs)
    return graph


def our_cut(case: Case, settings: Mapping[str, Any], share: float, folder: Path) -> Model:
    """Return the graph after the step `prune` without training."""
    settings = {**settings, "amount": f"{100 * share:.2f}%macs"}
    context = StepContext(
        load_target("cpu"), case.calibration, 1, SEED, Store(folder), lambda *_: None, original=case.model
    )
    return prune(case.model, PruneSettings.model_validate(settings), context).model


def recover(case: Case, model: Model, options: argparse.Namespace, *, sparse: bool = False) -> Model:
    """Return a cut or sparse graph after imitating the original; zeros of sparse weights stay."""
    settings = DistillSettings(
        steps=options.steps, batch=options.batch, learning_rate=options.rate, evaluate_every=max(1, options.steps // 6)
    )
    return imitate(
        model, case.model, case.calibration, settings,
        seed=SEED, checkpoint=None, progress=lambda *_: None, threads=options.threads,
        sparse=sparse,
    ).model  # fmt: skip


def accuracy(case: Case, model: Model) -> str:
    """Return top-1, agreement with the original, and SQNR on the evaluation set."""
    with (
        open_graph(case.model.to_bytes(), threads=1) as original,
        open_graph(model.to_bytes(), threads=1) as engine,
    ):
        top1 = measure_score(engine, case.evaluation, load_metric("top1", Path()), batch=64).estimate.value
        found = compare_outputs(original.run, engine.run, case.evaluation.batches(64))
    sqnr = "equal" if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB"
    return f"{100 * top1:.2f} % ({100 * (found.agreement or 0):.1f} %, {sqnr})"


def analysis_seconds(case: Case) -> float:
    """Return how long torch-pruning takes to find all groups."""
    import torch_pruning

    module, example = copy.deepcopy(case.module), case.example()

    def analyse_module() -> None:
        graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=example)
        assert list(graph.get_all_groups())

    return _timed(analyse_module)


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(SEED)
    return make().eval()


def _last_linear(module: nn.Module) -> nn.Module:
    return [part for part in module.modules() if isinstance(part, nn.Linear)][-1]


def _timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()

"""Structured pruning beside torch-pruning 1.6.1: accuracy at equal MACs and equal recovery, and what each can cut.

    pip install --no-deps --target pruning-packages torch-pruning==1.6.1
    python examples/fetch.py fashion-mnist mobilenetv2 photos
    PYTHONPATH=pruning-packages python benchmarks/pruning.py structures
    PYTHONPATH=pruning-packages python benchmarks/pruning.py fashion [--remove 50] [--steps 600] [--allocation global]
    PYTHONPATH=pruning-packages python benchmarks/pruning.py mobilenetv2 --remove 30 --steps 60 --batch 8

Both tools get the same trained weights, cut channels by L2 magnitude until the same share of the MACs is gone (counted
by us on the exported graphs; multiples of 8, at least a tenth of each layer stays), and what is left imitates the
original with the same settings, samples and seed. torch-pruning's nets are exported for that. Its magnitude is the
mean of the squared norms of a group's tensors and of the gains of BatchNormalization; ours is the mean of the norms of
the exported kernels, into which BatchNormalization is folded, so torch-pruning also gets a net in that form. Lines that
say "least squares" and "default" (Fisher scores, least squares) use what only we have; the recovery is the same.

Accuracy is top-1 on the evaluation set, in brackets agreement with the original and SQNR; analysis is in seconds of the
processor. ``structures`` cuts half of everything in nets that are hard to prune.
"""

import argparse
import copy
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pruning_nets import SUBJECTS, cut_half, torch_pruning_half
from torch import Tensor, nn

from compress.data.binding import bind_samples
from compress.data.metrics import load_metric
from compress.data.recipes import load_samples, read_recipe
from compress.data.samples import SampleSet
from compress.distill.choice import DistillSettings
from compress.distill.imitation import imitate
from compress.intake.export import export_module
from compress.intake.quiet import quiet
from compress.intake.simplify import simplify
from compress.measure.cost import count_cost, sum_cost
from compress.measure.fidelity import compare_outputs
from compress.measure.score import measure_score
from compress.model import Model, TensorSpec
from compress.project import load_project
from compress.prune.coupling import analyse
from compress.prune.settings import PruneSettings
from compress.prune.step import prune
from compress.resources import data_folder
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target

ROOT = Path(__file__).parent.parent
SEED, MULTIPLE, FLOOR = 0, 8, 0.1
OPSET = 20
FIRST = "torch-pruning"
Line = tuple[str, Callable[[float], Model]]
"""Name, and what cuts at least a share of the MACs."""


@dataclass(frozen=True)
class Case:
    """A trained net as a module and as a graph, and its samples."""

    module: nn.Module
    spec: TensorSpec
    model: Model
    calibration: SampleSet
    evaluation: SampleSet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fashion", "mobilenetv2", "structures"))
    parser.add_argument("--remove", type=float, default=50, help="percent of the MACs")
    parser.add_argument("--allocation", choices=("global", "uniform"), default="global")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--samples", type=int, default=16_384, help="fashion: training images without labels")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.what == "structures":
        compare_structures()
        return
    compare_accuracy(open_case(options.what, options.samples), options)


def compare_structures() -> None:
    """Print what each tool does to nets that are hard to prune."""
    print(f"{'half of every layer':26} {'torch-pruning 1.6.1':44} here")
    for name, subject in SUBJECTS.items():
        module, spec = _seeded(subject.make), TensorSpec("x", "float32", ("batch", *subject.shape))
        theirs = torch_pruning_half(module, torch.randn(2, *subject.shape), subject.heads)
        print(f"{name:26} {theirs:44} {cut_half(to_model(module, spec))}", flush=True)


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
    folded = fold_batch_norm(case.module)
    yield FIRST, lambda _: their_cut(case, case.module, options)
    yield f"{FIRST}, folded", lambda _: their_cut(case, folded, options)


def our_lines(case: Case, allocation: str, folder: Path) -> Iterator[Line]:
    """Yield our lines of the table."""
    shared = {"allocation": allocation, "multiple": MULTIPLE, "floor": FLOOR, "steps": 0}
    l2 = {**shared, "importance": "l2", "aggregation": "mean", "normalisation": "mean"}
    yield "here", lambda share: our_cut(case, {**l2, "update": "none"}, share, folder)
    yield "here, least squares", lambda share: our_cut(case, {**l2, "update": "least-squares"}, share, folder)
    yield "here, default", lambda share: our_cut(case, shared, share, folder)


def their_cut(case: Case, module: nn.Module, options: argparse.Namespace) -> Model:
    """Return the graph of a module that torch-pruning cut, little by little, until the MACs were gone."""
    import torch_pruning

    module = copy.deepcopy(module).eval()
    example = _example(case)
    whole, _ = torch_pruning.utils.count_ops_and_params(module, example)
    pruner = torch_pruning.pruner.BasePruner(
        module, example, importance=torch_pruning.importance.MagnitudeImportance(p=2),
        global_pruning=options.allocation == "global", pruning_ratio=1.0, max_pruning_ratio=1 - FLOOR,
        iterative_steps=200, round_to=MULTIPLE, ignored_layers=[_last_linear(module)],
    )  # fmt: skip
    for _ in range(pruner.iterative_steps):
        pruner.step()
        if torch_pruning.utils.count_ops_and_params(module, example)[0] <= (1 - options.remove / 100) * whole:
            break
    return to_model(module, case.spec)


def our_cut(case: Case, settings: Mapping[str, Any], share: float, folder: Path) -> Model:
    """Return the graph after the step `prune` without training."""
    settings = {**settings, "amount": f"{100 * share:.2f}%macs"}
    context = StepContext(
        load_target("cpu"), case.calibration, 1, SEED, Store(folder), lambda *_: None, original=case.model
    )
    return prune(case.model, PruneSettings.model_validate(settings), context).model


def recover(case: Case, model: Model, options: argparse.Namespace) -> Model:
    """Return a cut graph after imitating the original."""
    settings = DistillSettings(
        steps=options.steps, batch=options.batch, learning_rate=options.rate, evaluate_every=max(1, options.steps // 6)
    )
    return imitate(
        model, case.model, case.calibration, settings,
        seed=SEED, checkpoint=None, progress=lambda *_: None, threads=options.threads,
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

    module, example = copy.deepcopy(case.module), _example(case)

    def analyse_module() -> None:
        graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=example)
        assert list(graph.get_all_groups())

    return _timed(analyse_module)


def open_case(name: str, count: int) -> Case:
    """Return an example's net, its graph and its samples."""
    example = ROOT / "examples" / name
    sys.path.insert(0, str(example))
    module, spec = _fashion_net(example) if name == "fashion" else _mobilenet(example)
    model = to_model(module, spec)
    project = load_project(example / "model.pt")
    assert project.data.calibration is not None
    assert project.data.evaluation is not None
    calibration = load_samples(project.data.calibration, base=example)
    if name == "fashion":
        recipe = data_folder("calibration") / "fashion-mnist" / "calibration.toml"
        changes: dict[str, Any] = {
            "source": "cache:fashion-mnist/train-images-idx3-ubyte.gz",
            "labels": None,
            "sha256": {},
        }
        settings = read_recipe(recipe).model_copy(update={**changes, "count": count, "classes": ()})
        calibration = load_samples(settings, base=recipe.parent)
    evaluation = load_samples(project.data.evaluation, base=example)
    return Case(module, spec, model, bind_samples(calibration, model.inputs), bind_samples(evaluation, model.inputs))


def _fashion_net(example: Path) -> tuple[nn.Module, TensorSpec]:
    from train import FashionNet

    net = FashionNet()
    net.load_state_dict(torch.export.load(example / "model.pt").state_dict)
    return net.eval(), TensorSpec("image", "float32", ("batch", 1, 28, 28))


def _mobilenet(example: Path) -> tuple[nn.Module, TensorSpec]:
    from network import mobilenet_v2

    net = mobilenet_v2()
    net.load_state_dict(torch.load(example / "model.pth", weights_only=True))
    return net.eval(), TensorSpec("image", "float32", ("batch", 3, 224, 224))


def to_model(module: nn.Module, spec: TensorSpec) -> Model:
    """Return the graph of a module as the intake hands it on."""
    with quiet():
        graph = export_module(module.eval(), [spec], OPSET).graph
    simplify(graph)
    return Model.from_ir(graph)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy of a module with each BatchNormalization folded into the convolution in front of it."""
    folded = copy.deepcopy(module).eval()
    for sequence in [part for part in folded.modules() if isinstance(part, nn.Sequential)]:
        for index in range(1, len(sequence)):
            convolution, norm = sequence[index - 1], sequence[index]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[index - 1] = nn.utils.fuse_conv_bn_eval(convolution, norm)
                sequence[index] = nn.Identity()
    return folded


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(SEED)
    return make().eval()


def _example(case: Case) -> Tensor:
    return torch.zeros(1, *(int(size) for size in case.spec.shape[1:]))


def _last_linear(module: nn.Module) -> nn.Module:
    return [part for part in module.modules() if isinstance(part, nn.Linear)][-1]


def _timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()

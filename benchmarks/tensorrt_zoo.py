"""Networks × architectures × precisions: what TensorRT-RTX compiles on this machine, in which time, how near to float.

    pip install -e '.[rtx]'
    python examples/fetch.py mobilenetv2 photos minilm sentiment
    python benchmarks/tensorrt_zoo.py [mobilenetv2 minilm …] [--target rtx-any …] [--calibrate 64] [--evaluate 64]

Every graph has a dynamic batch, 1 to 16. SQNR and agreement with the float model are those of the exact graph that the
compiler gets, simulated on this CPU: on real samples for MobileNetV2 and MiniLM, on synthetic ones for the rest, whose
weights are random. Seconds are those of checker, parser and compiler for one target: one architecture, or with rtx-any
all of them in one engine.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import exported_nets
from subjects import SUBJECTS, Subject

from compress.data.subset import take
from compress.data.synthetic import synthesize
from compress.errors import CompressError
from compress.measure.fidelity import compare_outputs
from compress.model import Model
from compress.precision import count_precisions
from compress.recipe import load_recipe
from compress.runtimes import open_graph
from compress.runtimes.tensorrt_rtx import build
from compress.steps import StepContext, run_step
from compress.store import Store
from compress.targets import load_target

TARGETS = ("rtx-turing", "rtx-ampere", "rtx-ada", "rtx-blackwell", "rtx-any")
RECIPES = ("fp16", "int8", "int8+fp16")
SMALL = ("resnet", "vit", "unet", "rnet", "recurrent")


def make_small(name: str) -> Callable[[Path], Subject]:
    """Return what makes a network of ``tests/support/exported_nets.py`` with synthetic samples."""

    def make(_: Path) -> Subject:
        model = exported_nets.folded_model(name)
        return Subject(model, synthesize(model.inputs, 64, seed=1), synthesize(model.inputs, 64, seed=2))

    return make


MODELS = {**{name: make_small(name) for name in SMALL}, **SUBJECTS}


def lower(subject: Subject, recipe: str, folder: Path, calibrate: int) -> Model:
    """Return the graph that a recipe makes for TensorRT-RTX."""
    samples = take(subject.calibration, calibrate)
    context = StepContext(
        load_target("rtx-ada"), samples, 1, 0, Store(folder / "store"), lambda *_: None, subject.model
    )
    model: Model = subject.model
    for step in load_recipe(recipe).attempts[0]:
        model = run_step(step.name, step.function, step.settings, model, context)
    return model


def compile_for(model: Model, target: str, folder: Path) -> str:
    """Return the seconds that a build took, or why there is no engine."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    try:
        build(model, load_target(target), folder)
    except CompressError as error:
        return error.message
    return f"{time.perf_counter() - start:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--target", action="append", choices=TARGETS, help="may be repeated; default: all of them")
    parser.add_argument("--calibrate", type=int, default=64)
    parser.add_argument("--evaluate", type=int, default=64)
    options = parser.parse_args()
    targets = options.target or TARGETS
    print(f"| model | precision | compute nodes | SQNR | agreement | {' | '.join(targets)} |")
    print("|" + "---|" * (5 + len(targets)), flush=True)
    for name in options.models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            subject = MODELS[name](folder)
            evaluation = take(subject.evaluation, options.evaluate)
            for recipe in RECIPES:
                model = lower(subject, recipe, folder, options.calibrate)
                with (
                    open_graph(subject.model.to_bytes(), threads=1) as first,
                    open_graph(model.to_bytes(), threads=1, simulate=True) as second,
                ):
                    found = compare_outputs(first.run, second.run, evaluation.batches(8))
                counts = ", ".join(f"{count} {kind}" for kind, count in count_precisions(model).items())
                agreement = "" if found.agreement is None else f"{100 * found.agreement:.1f} %"
                times = [compile_for(model, target, folder / recipe / target) for target in targets]
                cells = (name, recipe, counts, f"{found.sqnr_db or 0:.1f} dB", agreement, *times)
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

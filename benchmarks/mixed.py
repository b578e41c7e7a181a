"""Mixed precision: what searches of two minutes make of a model here, and whether they keep to their time.

    python examples/fetch.py mobilenetv2 photos minilm sentiment
    python benchmarks/mixed.py [mobilenetv2] [--time-budget 120] [--diagnose 30]
        [--search min_sqnr_db=18] [--search min_speedup=1.5]

A search sees the calibration samples only, without labels. The table is measured on the evaluation samples, with the
engine in ONNX Runtime, latency interleaved with the float original's at one thread. ``--steps quantize qat`` puts a
training before the searches, each of which starts from the same INT8 model; ``--diagnose 30`` prints the layers that
lose most in it, and the time that took.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from subjects import SUBJECTS

from compress.data.samples import SampleSet
from compress.latency_meter import LatencyMeter, Timing
from compress.measure.fidelity import compare_outputs
from compress.model import Model
from compress.quantize.diagnosis.table import diagnose
from compress.quantize.mixed.step import MixedSettings, mix_precision
from compress.recipe import load_recipe
from compress.report.layers import describe_worst
from compress.runtimes import open_graph
from compress.steps import StepContext, run_step
from compress.store import Store
from compress.targets import load_target

BATCH = 16


def load(name: str, folder: Path, threads: int) -> tuple[StepContext, SampleSet]:
    """Return the context of the steps and the evaluation samples."""
    subject = SUBJECTS[name](folder)
    store = Store(folder / "store")
    context = StepContext(
        load_target("cpu"), subject.calibration, threads, 0, store, lambda *_: None, original=subject.model
    )
    return context, subject.evaluation


def make_int8(
    context: StepContext, folder: Path, steps: list[str], changes: list[str]
) -> Iterator[tuple[str, Model, float]]:
    """Yield each step's name, model and seconds."""
    tables: dict[str, list[str]] = {step: [] for step in steps}
    for text in changes:
        step, _, setting = text.partition(".")
        tables[step].append(setting.replace("=", " = ", 1))
    path = folder / "benchmark.toml"
    path.write_text(
        "\n".join([f"steps = {json.dumps(steps)}", *("\n".join([f"[{k}]", *v]) for k, v in tables.items())])
    )
    model = context.original
    for planned in load_recipe(str(path)).attempts[0]:
        start = time.perf_counter()
        model = run_step(planned.name, planned.function, planned.settings, model, context)
        yield planned.name, model, time.perf_counter() - start


def show(name: str, model: Model, seconds: float, context: StepContext, evaluation: SampleSet) -> None:
    """Print a line of the table."""
    with open_graph(context.original.to_bytes(), threads=1) as first, open_graph(model.to_bytes(), threads=1) as second:
        found = compare_outputs(first.run, second.run, evaluation.batches(BATCH))
    with LatencyMeter(context.original, Timing(1, 1, 8.0), context) as meter:
        speedup = 1 / (1 - meter.removed(model))
    size = len(model.to_bytes()) / 1e6
    agreement = 100 * (found.agreement or 0.0)
    line = f"{seconds:6.1f} s {found.sqnr_db or 0:6.2f} dB {agreement:6.2f} % {speedup:5.2f}x {size:6.2f} MB"
    print(f"{name:<24} {line}", flush=True)


def search(model: Model, text: str, seconds: float, context: StepContext, evaluation: SampleSet) -> None:
    """Run one search and print what it found."""
    goals: dict[str, Any] = {key: float(value) for key, value in (part.split("=") for part in text.split(","))}
    settings = MixedSettings(**goals, time_budget_seconds=seconds)
    start = time.perf_counter()
    result = mix_precision(model, settings, context)
    show(f"mixed {text}", result.model, time.perf_counter() - start, context, evaluation)
    frontier = result.metrics["frontier"]
    print(json.dumps({key: value for key, value in result.metrics.items() if key != "frontier"}), flush=True)
    assert isinstance(frontier, list)
    for point in frontier:
        assert isinstance(point, dict)
        print("   frontier:", {key: point[key] for key in ("latency", "sqnr_db", "agreement", "bytes", "layers")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=SUBJECTS, default="mobilenetv2")
    parser.add_argument("--time-budget", type=float, default=120.0)
    parser.add_argument("--search", action="append", default=[], metavar="KEY=VALUE[,KEY=VALUE]")
    parser.add_argument("--steps", nargs="+", default=["quantize"])
    parser.add_argument("--set", action="append", default=[], metavar="STEP.KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--diagnose", type=float, default=0.0, metavar="SECONDS")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        context, evaluation = load(chosen.model, Path(name), chosen.threads)
        model = context.original
        for step, model, seconds in make_int8(context, Path(name), chosen.steps, chosen.set):
            show(step, model, seconds, context, evaluation)
        if chosen.diagnose:
            start = time.perf_counter()
            layers = diagnose(model, context, seconds=chosen.diagnose)
            measured = sum(layer.alone_sqnr_db is not None for layer in layers)
            print(f"diagnosed {measured} of {len(layers)} layers in {time.perf_counter() - start:.1f} s")
            print(*describe_worst(layers), sep="\n", flush=True)
        for text in chosen.search or ["min_speedup=1.5", "min_sqnr_db=18"]:
            search(model, text, chosen.time_budget, context, evaluation)


if __name__ == "__main__":
    main()

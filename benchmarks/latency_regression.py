"""How often ``compress gate --baseline`` calls an engine slower between two runs in which it is the same.

    python benchmarks/latency_regression.py [--runs 24] [--seconds 5] [--busy 0 1]

Each run is a process of its own, as in CI: it times the original of `examples/fashion` and its INT8 engine in turn,
one thread each. The number of busy processes beside it goes through ``--busy``, run after run. Every run is held
against every earlier one as the rule ``latency-regression`` does, with several limits: through the original that both
timed, and by the engines' medians alone. Then the same with the later engine's seconds 15 and 25 % longer, which a
limit has to find.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from aa_latency import MODEL, busy

from compress.data.gather import gather_samples
from compress.data.synthetic import synthesize
from compress.gate.regression import RUN_TO_RUN, RUN_TO_RUN_ALONE, decide_slowdown
from compress.intake import IntakeOptions, take_in
from compress.measure.statistics import Estimate, Floats, independent_ratio, percentile, ratio_of_medians, widen_ratio
from compress.measure.timings import Limits, time_interleaved
from compress.project import load_project
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target

LIMITS = (1.05, 1.1, 1.15)
SLOWER = (1.0, 1.15, 1.25)


def write_engines(folder: Path) -> None:
    """Write the original and its INT8 engine."""
    project = load_project(MODEL)
    model = take_in(MODEL, IntakeOptions(inputs=project.model.inputs, search_path=project.folder)).model
    samples = gather_samples(None, None, model.inputs, seed=0).calibration
    context = StepContext(load_target("cpu"), samples, 1, 0, Store(folder), lambda *_: None, model)
    (folder / "original.onnx").write_bytes(model.to_bytes())
    (folder / "int8.onnx").write_bytes(quantize_static(model, QuantizeSettings(), context).model.to_bytes())
    feed = next(iter(synthesize(model.inputs, count=1, seed=0).batches(1))).inputs
    np.savez(folder / "feed.npz", **feed)  # type: ignore[arg-type] # names of inputs, none is allow_pickle


def time_once(folder: Path, seconds: float, seed: int) -> None:
    """Print the seconds of every round, in this process."""
    feed = dict(np.load(folder / "feed.npz"))
    graphs = [(folder / name).read_bytes() for name in ("original.onnx", "int8.onnx")]
    with open_graph(graphs[0], threads=1) as first, open_graph(graphs[1], threads=1) as second:
        limits = Limits(seconds=seconds)
        found = time_interleaved(lambda: first.run(feed), lambda: second.run(feed), limits=limits, seed=seed)
    print(json.dumps([list(found.baseline), list(found.compressed)]))


def collect(folder: Path, options: argparse.Namespace) -> list[tuple[Floats, Floats]]:
    """Return the seconds of the original and of the engine in every run."""
    runs = []
    for number in range(options.runs):
        how = ["--folder", str(folder), "--seconds", str(options.seconds), "--seed", str(number)]
        with busy(options.busy[number % len(options.busy)]):
            done = subprocess.run([sys.executable, __file__, *how], check=True, capture_output=True, text=True)
        first, second = json.loads(done.stdout)
        runs.append((np.array(first), np.array(second)))
    return runs


def through_the_original(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> Estimate:
    """Return how many times longer the later engine takes, each beside the same original."""
    first, second = (ratio_of_medians(*run, seed=0) for run in (before, after))
    return widen_ratio(independent_ratio(first, second), RUN_TO_RUN, "")


def alone(before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> Estimate:
    """Return the same from the engines' medians."""
    return widen_ratio(independent_ratio(_median(after[1]), _median(before[1])), RUN_TO_RUN_ALONE, "")


def _median(seconds: Floats) -> Estimate:
    value, low, high = percentile(seconds, 0.5)
    assert high is not None, "too few rounds"
    return Estimate(value, low, high, 0.95, "")


def show(name: str, found: Sequence[Estimate]) -> None:
    """Print what is decided of the pairs, with each limit."""
    ratios = [each.value for each in found]
    print(f"{name}: {len(found)} pairs, ratios {min(ratios):.3f} to {max(ratios):.3f}")
    for limit in LIMITS:
        decided = [decide_slowdown(each, limit) for each in found]
        counts = ", ".join(f"{word} {decided.count(word)}" for word in ("beyond", "open", "within"))
        print(f"  limit {limit - 1:.0%}: {counts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run at most")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="busy processes beside the runs, in turn")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        time_once(options.folder, options.seconds, options.seed)
        return
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        write_engines(Path(folder))
        runs = collect(Path(folder), options)
    rounds = min(len(run[0]) for run in runs)
    print(f"{options.runs} runs, {time.monotonic() - start:.0f} s in all, {rounds} rounds at least")
    for factor in SLOWER:
        print("the same engine" if factor == 1 else f"{factor - 1:.0%} slower")
        pairs = [(before, (after[0], after[1] * factor)) for before, after in combinations(runs, 2)]
        show("  through the original", [through_the_original(*pair) for pair in pairs])
        show("  medians alone", [alone(*pair) for pair in pairs])


if __name__ == "__main__":
    main()

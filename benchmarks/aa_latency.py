"""The same engine against itself on a busy machine: how often "faster" or "slower" is claimed where nothing differs.

    python benchmarks/aa_latency.py [--runs 100] [--seconds 3] [--busy 1]

Each run opens the graph of `examples/fashion` twice, times both sessions in turn as `compress run` and `compress bench`
do, and claims a difference where the 95 % interval of the ratio leaves 1 out: that of the rounds alone, which knows
these two sessions, and the one that is reported, which knows what two sessions of one engine differ by. Meanwhile other
processes count as fast as they can. The spread between sessions is what both halves of a run have in common.

At last, each run is held against the one before it as `compress gate --baseline` does, with itself as the original.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from compress.data.synthetic import synthesize
from compress.gate.regression import RUN_TO_RUN, decide_slowdown
from compress.intake import IntakeOptions, take_in
from compress.measure.statistics import Estimate, independent_ratio, ratio_of_medians, speed_ratio, widen_ratio
from compress.measure.timings import Limits, Timings, time_interleaved
from compress.project import load_project
from compress.runtimes import Feed, open_graph

MODEL = Path(__file__).parent.parent / "examples" / "fashion" / "model.pt"
LIMIT = 1.05


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep some processes counting."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def race(graph: bytes, feed: Feed, limits: Limits, seed: int) -> Timings:
    """Return the rounds of two sessions of one graph."""
    with open_graph(graph, threads=1) as first, open_graph(graph, threads=1) as second:
        return time_interleaved(lambda: first.run(feed), lambda: second.run(feed), limits=limits, seed=seed)


def claims(ratios: Sequence[Estimate]) -> str:
    faster, slower = sum(ratio.low > 1 for ratio in ratios), sum(ratio.high < 1 for ratio in ratios)
    width = np.median([ratio.high - ratio.low for ratio in ratios])
    return f"faster {faster}, slower {slower}, median width of the interval {width:.3f}"


def session_spread(runs: Sequence[Timings]) -> float:
    """Return the deviation of the logarithm of the ratio that both halves of a run have in common."""
    products = []
    for run in runs:
        half = len(run.baseline) // 2
        parts = ((run.baseline[part], run.compressed[part]) for part in (slice(half), slice(half, None)))
        products.append(np.prod([np.log(np.median(first) / np.median(second)) for first, second in parts]))
    return float(np.sqrt(max(0.0, float(np.mean(products)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run at most")
    parser.add_argument("--busy", type=int, default=1, help="processes beside it")
    options = parser.parse_args()
    project = load_project(MODEL)
    model = take_in(MODEL, IntakeOptions(inputs=project.model.inputs, search_path=project.folder)).model
    feed = next(iter(synthesize(model.inputs, count=1, seed=0).batches(1))).inputs
    limits, start = Limits(seconds=options.seconds), time.monotonic()
    with busy(options.busy):
        runs = [race(model.to_bytes(), feed, limits, seed) for seed in range(options.runs)]
    pairs = [(run.baseline, run.compressed) for run in runs]
    rounds = [ratio_of_medians(*pair, seed=seed) for seed, pair in enumerate(pairs)]
    reported = [speed_ratio(*pair, seed=seed) for seed, pair in enumerate(pairs)]
    values = np.array([ratio.value for ratio in rounds])
    made = [len(run.baseline) for run in runs]
    slowdowns = [widen_ratio(independent_ratio(one, other), RUN_TO_RUN, "") for one, other in pairwise(rounds)]
    found = [decide_slowdown(slowdown, LIMIT) for slowdown in slowdowns]
    print(f"{options.runs} runs, {options.busy} busy beside them, {time.monotonic() - start:.0f} s in all")
    print(f"{min(made)} to {max(made)} rounds; ratios {values.min():.3f} to {values.max():.3f}")
    print(f"claimed by the rounds alone: {claims(rounds)}")
    print(f"claimed by what is reported: {claims(reported)}")
    print(f"spread between sessions: {session_spread(runs):.4f}; of the ratios of two runs {values_spread(values):.4f}")
    print(f"run against the run before: {found.count('beyond')} slower, {found.count('open')} open of {len(found)}")


def values_spread(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """Return the deviation of the logarithms of the ratios of each run to the one before."""
    return float(np.std(np.diff(np.log(values))))


if __name__ == "__main__":
    main()

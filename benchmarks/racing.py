"""Rules for dropping an engine from a race, on simulated times: how often they are wrong, how soon they are right.

    python benchmarks/racing.py [--races 100]

Times have a long tail, spikes, and bursts that slow everything for a while. Each rule is asked at the same rounds. The
first column counts races of four equal engines in which any was dropped; the others are the median number of rounds
after which an engine that is 5, 10 or 30 % slower was dropped from a race of two (`-`: not within 300 rounds).
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from compress.measure.race import LOOKS, RaceLimits, surely_slower

Times = NDArray[np.float64]
Rule = Callable[[Times, Times, float, float], bool]


def simulate(slowdowns: tuple[float, ...], generator: np.random.Generator) -> Times:
    """Return times [rounds, engines] around 1."""
    rounds, engines = LOOKS[-1], len(slowdowns)
    busy = np.repeat(generator.choice([1.0, 1.6], size=rounds // 10 + 1, p=[0.8, 0.2]), 10)[:rounds, None]
    tail = 1 + 0.05 * generator.exponential(size=(rounds, engines))
    spikes = np.where(generator.random((rounds, engines)) < 0.05, 4.0, 1.0)
    return np.asarray(np.array(slowdowns) * busy * tail * spikes, np.float64)


def paired_t(mine: Times, best: Times, margin: float, level: float) -> bool:
    """Return whether the mean log-ratio is above the margin, by a one-sided paired t-test."""
    ratios = np.log(mine / best) - np.log1p(margin)
    deviation = ratios.std(ddof=1) / np.sqrt(len(ratios))
    return bool(deviation > 0 and t.sf(ratios.mean() / deviation, len(ratios) - 1) <= level)


def means(mine: Times, best: Times, margin: float, level: float) -> bool:  # noqa: ARG001 it knows no level
    """Return whether the mean time is above the margin: what a loop that takes the best average does."""
    return bool(mine.mean() > best.mean() * (1 + margin))


def dropped_at(times: Times, rule: Rule, *, corrected: bool) -> int | None:
    """Return the first look at which any engine but the leader is dropped, or None."""
    limits, engines = RaceLimits(), times.shape[1]
    level = (1 - limits.confidence) / (engines * (engines - 1) * len(LOOKS) if corrected else 1)
    for look in LOOKS:
        seen = times[:look]
        leader = int(np.median(seen, axis=0).argmin())
        if any(rule(seen[:, i], seen[:, leader], limits.margin, level) for i in range(engines) if i != leader):
            return look
    return None


RULES: dict[str, tuple[Rule, bool]] = {
    "sign test, corrected (ours)": (surely_slower, True),
    "sign test, not corrected": (surely_slower, False),
    "paired t-test, corrected": (paired_t, True),
    "paired t-test, not corrected": (paired_t, False),
    "best mean": (means, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=100)
    races = parser.parse_args().races
    print(f"{'rule':<30} wrong drops   5 %  10 %  30 % slower")
    for name, (rule, corrected) in RULES.items():
        generator = np.random.default_rng(0)
        wrong = sum(
            dropped_at(simulate((1.0,) * 4, generator), rule, corrected=corrected) is not None for _ in range(races)
        )
        cells = []
        for slower in (1.05, 1.10, 1.30):
            found = [dropped_at(simulate((1.0, slower), generator), rule, corrected=corrected) for _ in range(races)]
            median = float(np.median([np.inf if look is None else look for look in found]))
            cells.append("-" if np.isinf(median) else f"{median:.0f}")
        print(f"{name:<30} {100 * wrong / races:8.1f} %  {cells[0]:>5} {cells[1]:>5} {cells[2]:>5}")


if __name__ == "__main__":
    main()

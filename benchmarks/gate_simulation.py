"""The gate on drawn samples: how often it is wrong, how often its interval holds the true drop, what pairing saves.

    python benchmarks/gate_simulation.py [--draws 10000] [--changed 0.012 0.04]

A model of 90 % accuracy loses 0 to 2 points, the budget is 1 point. Of n samples, drawn from a multinomial, a share
changes its outcome (at least as many as the drop takes). The gate passes where the interval ends within the budget and
fails where it begins beyond it. "Wrong pass" is at a true drop of the budget, "wrong fail" at none. Beside Tango's
interval, which the gate uses, stand Newcombe's (method 10) and Wald's; at the end, the samples from which on four of
five equal models pass, against an interval that does not know that both engines saw the same samples.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compress.measure.statistics import (
    PairedTable,
    newcombe_difference,
    normal_quantile,
    score_interval,
    wilson_interval,
)

Counts = NDArray[np.int64]
Ends = tuple[NDArray[np.float64], NDArray[np.float64]]
ACCURACY, BUDGET, Z = 0.9, 0.01, normal_quantile(0.95)
SIZES = (100, 300, 1_000, 3_000, 10_000, 50_000)
DROPS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.0175, 0.02)


def draw(random: np.random.Generator, n: int, drop: float, changed: float, draws: int) -> Counts:
    """Return tables [draws, 4]: both right, only the baseline, only the compressed engine, neither."""
    lost, won = (max(changed, drop) + drop) / 2, (max(changed, drop) - drop) / 2
    return random.multinomial(n, [ACCURACY - lost, lost, won, 1 - ACCURACY - won], size=draws)


def tango(tables: Counts) -> Ends:
    n = int(tables[0].sum())
    return score_interval(tables[:, 1].astype(float), tables[:, 2].astype(float), n)


def newcombe(tables: Counts) -> Ends:
    found = [newcombe_difference(PairedTable(*map(int, table))) for table in tables]
    return np.array([each.low for each in found]), np.array([each.high for each in found])


def wald(tables: Counts) -> Ends:
    n = tables[0].sum()
    value = (tables[:, 1] - tables[:, 2]) / n
    half = Z * np.sqrt(((tables[:, 1] + tables[:, 2]) / n - value**2) / n)
    return value - half, value + half


def unpaired(tables: Counts) -> Ends:
    """Return Newcombe's interval (method 10 for independent samples) of the two shares."""
    n = int(tables[0].sum())
    shares = [tables[:, 0] + tables[:, other] for other in (1, 2)]
    (l1, u1), (l2, u2) = (np.array([wilson_interval(int(k), n, 0.95) for k in share]).T for share in shares)
    p1, p2 = (share / n for share in shares)
    return p1 - p2 - np.hypot(p1 - l1, u2 - p2), p1 - p2 + np.hypot(u1 - p1, p2 - l2)


INTERVALS: dict[str, Callable[[Counts], Ends]] = {"Tango": tango, "Newcombe": newcombe, "Wald": wald}


def by_table(interval: Callable[[Counts], Ends], tables: Counts) -> Ends:
    """Return the ends for each table, each different one computed once."""
    different, places = np.unique(tables, axis=0, return_inverse=True)
    low, high = interval(different)
    places = places.reshape(-1)
    return low[places], high[places]


def simulate(draws: int, changed: float) -> None:
    random = np.random.default_rng(0)
    print(f"\nat least {100 * changed:g} % of the samples change; {draws:,} draws for each of {len(DROPS)} drops\n")
    print("| n | changed samples at the budget | interval | wrong pass | wrong fail | coverage, least and most |")
    print("|---|---|---|---|---|---|", flush=True)
    for n in SIZES:
        tables = {drop: draw(random, n, drop, changed, draws) for drop in DROPS}
        for name, interval in INTERVALS.items():
            ends = {drop: by_table(interval, found) for drop, found in tables.items()}
            cover = [100 * np.mean((low <= drop) & (drop <= high)) for drop, (low, high) in ends.items()]
            passed, failed = 100 * np.mean(ends[BUDGET][1] <= BUDGET), 100 * np.mean(ends[0.0][0] > BUDGET)
            count = n * max(changed, BUDGET)
            print(
                f"| {n:,} | {count:.0f} | {name} | {passed:.1f} % | {failed:.1f} % | "
                f"{min(cover):.1f} to {max(cover):.1f} % |",
                flush=True,
            )


def compare_pairing(draws: int, changed: float) -> None:
    random = np.random.default_rng(1)
    needed: dict[str, int | None] = dict.fromkeys(("paired", "unpaired"))
    for n in np.unique(np.geomspace(100, 100_000, 61).astype(int)):
        tables = draw(random, int(n), 0.0, changed, draws)
        for name, interval in (("paired", tango), ("unpaired", unpaired)):
            if needed[name] is None and np.mean(by_table(interval, tables)[1] <= BUDGET) >= 0.8:
                needed[name] = int(n)
    print(f"four of five equal models pass from n = {needed['paired']} paired, {needed['unpaired']} unpaired")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--changed", type=float, nargs="+", default=[0.012, 0.04])
    options = parser.parse_args()
    for changed in options.changed:
        simulate(options.draws, changed)
        compare_pairing(min(options.draws, 1_000), changed)


if __name__ == "__main__":
    main()

"""The gate on drawn samples: how often it is wrong, how often its interval holds the true drop, what pairing saves.

    python benchmarks/gate_simulation.py [--draws 10000] [--changed 0.012 0.04]

A model of 90 % accuracy loses 0 to 2 points, the budget is 1 point. Of n samples, drawn from a multinomial, a share
changes its outcome (at least as many as the drop takes). The gate passes where the interval ends within the budget and
fails where it begins beyond it. "Wrong pass" is at a true drop of the budget, "wrong fail" at none. Beside Tango's
interval, which the gate uses, stand Newcombe's (method 10) and Wald's; at the end, the samples from which on four of
five equal models pass, against an interval that does not know that both engines saw the same samples.

Two more intervals of the gate have their coverage: that of a relative drop, and that of the change of the calibration
error, of models whose logits became too large or whose confidences are a constant too high. At the end, five targets
under one policy: how often at least one of them fails, each judged alone and with two corrections.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compress.measure.statistics import (
    Estimate,
    PairedTable,
    calibration_change,
    calibration_error,
    exceeds_p_value,
    hochberg_adjust,
    holm_adjust,
    newcombe_difference,
    normal_quantile,
    score_interval,
    wilson_interval,
)

Counts = NDArray[np.int64]
Outcome = tuple[NDArray[np.float64], NDArray[np.bool_]]
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


def simulate_relative(draws: int) -> None:
    """Print the coverage of Tango's interval divided by the original's accuracy as it was drawn."""
    random = np.random.default_rng(2)
    print("\n| accuracy | n | relative drop: coverage, least and most of four from 0 to 2 % | wrong pass at 1 % |")
    print("|---|---|---|---|", flush=True)
    for accuracy in (0.6, 0.9):
        for n in SIZES[1:5]:
            cover, passed = [], 0.0
            for relative in (0.0, 0.001, 0.01, 0.02):
                drop = relative * accuracy
                lost, won = (max(0.04, drop) + drop) / 2, (max(0.04, drop) - drop) / 2
                tables = random.multinomial(n, [accuracy - lost, lost, won, 1 - accuracy - won], size=draws)
                original = (tables[:, 0] + tables[:, 1]) / n
                low, high = (end / original for end in tango(tables))
                cover.append(100 * np.mean((low <= relative) & (relative <= high)))
                passed = 100 * float(np.mean(high <= BUDGET)) if relative == BUDGET else passed
            print(f"| {accuracy:.0%} | {n:,} | {min(cover):.1f} to {max(cover):.1f} % | {passed:.1f} % |", flush=True)


def draw_confidences(random: np.random.Generator, n: int, change: str) -> tuple[Outcome, Outcome]:
    """Return confidences and hits of an original and of what became of it."""
    if change.startswith("shift"):
        chances = random.uniform(0.3, 0.94, n)
        right = random.random(n) < chances
        return (chances, right), (chances + float(change.split()[1]), right)
    logits = random.normal(2.0, 1.5, n)
    chances = 1 / (1 + np.exp(-logits))
    right = random.random(n) < chances
    other = np.where(random.random(n) < 0.02, random.random(n) < chances, right)
    scaled = logits * (1.1 + float(change.split()[1])) + random.normal(0.0, 0.05, n)
    return (1 / (1 + np.exp(-1.1 * logits)), right), (1 / (1 + np.exp(-scaled)), other)


def simulate_calibration(draws: int) -> None:
    """Print how often the interval of the change of the calibration error holds what two million samples give."""
    random = np.random.default_rng(3)
    print(
        "\n| change | n | true change | coverage | true change above the interval | width |\n|---|---|---|---|---|---|"
    )
    for change in ("logits +0.0", "logits +0.1", "logits +0.5", "logits -0.3", "shift 0.01", "shift 0.05"):
        whole = draw_confidences(random, 2_000_000, change)
        true = calibration_error(*whole[1]) - calibration_error(*whole[0])
        for n in (1_000, 10_000):
            found = [calibration_change(*draw_confidences(random, n, change)).change for _ in range(draws)]
            held = 100 * np.mean([one.low <= true <= one.high for one in found])
            missed = 100 * np.mean([one.high < true for one in found])
            width = 100 * np.mean([one.high - one.low for one in found])
            cells = f"{100 * true:+.2f} | {held:.0f} % | {missed:.0f} % | {width:.1f} points"
            print(f"| {change} | {n:,} | {cells} |", flush=True)


CORRECTIONS: dict[str, Callable[[list[float]], list[float]]] = {
    "each alone": list,
    "Holm": holm_adjust,
    "Hochberg": hochberg_adjust,
}


def draw_targets(random: np.random.Generator, n: int, drops: list[float], shared: float, draws: int) -> Counts:
    """Return counts [draws, targets, 2] of samples lost and won; a share of the changes is common to all targets."""
    changed = 0.04
    rates = np.array([((changed + drop) / 2, (changed - drop) / 2) for drop in drops])
    common = random.binomial(n, shared * rates.min(axis=0), size=(draws, 1, 2))
    return common + random.binomial(n, rates - shared * rates.min(axis=0), size=(draws, len(drops), 2))


def simulate_targets(draws: int) -> None:
    """Print how often a report of five targets fails on accuracy."""
    random = np.random.default_rng(4)
    cases = {"all at the budget": [BUDGET] * 5, "all at 1.5 times the budget": [0.015] * 5}
    cases["one at 1.8 times the budget, four at 0"] = [0.018, *[0.0] * 4]
    print(f"\n| five targets, n = 10,000 | changes in common | {' | '.join(CORRECTIONS)} |\n|---|---|---|---|---|")
    for name, drops in cases.items():
        for shared in (0.0, 0.5, 1.0):
            counts = draw_targets(random, 10_000, drops, shared, draws)
            lost, won = counts[..., 0].astype(float), counts[..., 1].astype(float)
            low, high = score_interval(lost, won, 10_000)
            found = [
                [exceeds_p_value(Estimate(*ends, 0.95, ""), BUDGET) for ends in zip(*row, strict=True)]
                for row in zip((lost - won) / 10_000, low, high, strict=True)
            ]
            failed = [100 * np.mean([min(correct(row)) <= 0.025 for row in found]) for correct in CORRECTIONS.values()]
            cells = " | ".join(f"{share:.1f} %" for share in failed)
            print(f"| {name} | {100 * shared:.0f} % | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--changed", type=float, nargs="+", default=[0.012, 0.04])
    options = parser.parse_args()
    for changed in options.changed:
        simulate(options.draws, changed)
        compare_pairing(min(options.draws, 1_000), changed)
    simulate_relative(options.draws)
    simulate_calibration(min(options.draws, 200))
    simulate_targets(options.draws)


if __name__ == "__main__":
    main()

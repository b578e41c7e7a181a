"""Whether latencies can be trusted, said in words."""

import math
from typing import Final

import numpy as np

from compress.measure.machine import others_share, steal_share
from compress.measure.statistics import Estimate, Floats
from compress.measure.timings import Limits, Timings

DRIFT: Final = 0.05
"""Share by which the last third's median may differ from the first third's."""
STEAL: Final = 0.01
"""Share of CPU time that a hypervisor may take before it is worth a sentence."""
OTHERS: Final = 0.2
"""Share of all cores' time that other programs may use: a fifth is half a core of two."""
TOO_WIDE: Final = 1.5
"""How many times the wanted width the ratio's interval may have before it is worth a sentence."""
_APART: Final = 5.0
_MODE_DISTANCE: Final = 0.1
_MODE_SHARE: Final = 0.1
_ENOUGH: Final = 20


def describe_instability(timings: Timings, ratio: Estimate, *, limits: Limits) -> tuple[str, ...]:
    """Return a sentence for everything that makes these latencies less sure than they look; empty when all is well."""
    notes = [*_about_the_machine(timings), *_about_the_run(timings, ratio, limits)]
    for name, seconds in (("original", timings.baseline), ("compressed", timings.compressed)):
        drift = drift_of(seconds)
        if abs(drift) > DRIFT:
            notes.append(
                f"The {name} engine became {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} during the run."
            )
        if is_bimodal(seconds):
            notes.append(f"The {name} engine's latencies fall into two groups: its p50 may jump between them.")
    return tuple(notes)


def drift_of(seconds: Floats) -> float:
    """Return by which share the median of the last third is above that of the first third; 0 for under 20 values."""
    if len(seconds) < _ENOUGH:
        return 0.0
    third = len(seconds) // 3
    return float(np.median(seconds[-third:]) / np.median(seconds[:third]) - 1.0)


def is_bimodal(seconds: Floats) -> bool:
    """Return whether latencies fall into two groups well apart.

    The values are split where the variance within the two groups is least (Otsu). Two groups are real when each holds
    10 % of the values, their means differ by 10 % of the median, and Ashman's D exceeds 5. (D > 2 is a clean separation
    of groups that are known; a split made by looking at the values gives even one normal distribution D ≈ 2.7 and a
    uniform one 3.5.)

    Source: N. Otsu, "A threshold selection method from gray-level histograms", IEEE SMC 9 (1979), equation 12;
        K. M. Ashman, C. M. Bird, S. E. Zepf, "Detecting bimodality in astronomical datasets", AJ 108
        (1994), equation 9.
    """
    n = len(seconds)
    if n < _ENOUGH:
        return False
    ordered = np.sort(seconds)
    sizes = np.arange(1, n)
    sums = np.cumsum(ordered)[:-1]
    low_means, high_means = sums / sizes, (ordered.sum() - sums) / (n - sizes)
    between = sizes * (n - sizes) * (high_means - low_means) ** 2
    split = int(between.argmax()) + 1
    low, high = ordered[:split], ordered[split:]
    distance = float(high.mean() - low.mean())
    if min(len(low), len(high)) < _MODE_SHARE * n or distance < _MODE_DISTANCE * float(np.median(ordered)):
        return False
    return distance * math.sqrt(2.0) > _APART * math.sqrt(float(low.var() + high.var()))


def _about_the_machine(timings: Timings) -> list[str]:
    notes = []
    before, after = timings.pressure
    others = others_share(before, after)
    if others > OTHERS:
        notes.append(f"Other programs used {others:.0%} of the CPU time of all cores during the run.")
    stolen = steal_share(before, after)
    if stolen is not None and stolen > STEAL:
        notes.append(f"The hypervisor gave {stolen:.1%} of the CPU time to others during the run.")
    return notes


def _about_the_run(timings: Timings, ratio: Estimate, limits: Limits) -> list[str]:
    notes, rounds = [], len(timings.baseline)
    if not timings.steady:
        notes.append("The engines were still getting faster or slower when the time for warming up was over.")
    if rounds < limits.rounds:
        notes.append(f"Only {rounds} rounds fitted into the time budget of {limits.seconds:g} s.")
    width = (ratio.high - ratio.low) / ratio.value
    if width > TOO_WIDE * limits.width:
        notes.append(
            f"The ratio is known to {width:.1%} only, not to the {limits.width:.0%} wanted: "
            "measure on an idle machine or with a larger time budget."
        )
    return notes

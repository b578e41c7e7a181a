"""From an interval to a decision: three outcomes, how many samples one takes, and many decisions at once."""

import math
from collections.abc import Sequence
from typing import Final, Literal

from compress.measure.statistics.estimate import CONFIDENCE, Estimate, normal_quantile, normal_tail

Decision = Literal["within", "beyond", "open"]

POWER: Final = 0.8
"""How often the number of samples that is named would decide."""


def decide_budget(estimate: Estimate, budget: float) -> Decision:
    """Return whether a loss is surely within a budget, surely beyond it, or neither.

    Each side is a one-sided test at half of what the interval leaves over: at 95 % a loss that is exactly the budget is
    wrongly called within, or beyond, in 2.5 % of all cases each.
    """
    if estimate.high <= budget:
        return "within"
    return "beyond" if estimate.low > budget else "open"


def exceeds_p_value(estimate: Estimate, budget: float) -> float:
    """Return the one-sided p-value of "the loss is the budget or less", from the estimate's interval.

    It is below half of what the interval leaves over exactly where the interval's lower end is above the budget.

    Source: the normal distribution, with the standard deviation that the lower half of the interval implies.
    """
    gap, half = estimate.value - budget, estimate.value - estimate.low
    if half <= 0:
        return 0.0 if gap > 0 else 1.0
    return normal_tail(gap / half * normal_quantile(estimate.confidence))


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Return p-values for many questions at once: each one below a level there, the risk of any error is below it.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6 (1979), 65-70.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def hochberg_adjust(p_values: Sequence[float]) -> list[float]:
    """Return p-values for many questions at once, as :func:`holm_adjust` does, none of them larger than Holm's.

    Where all answers are equally sure none loses anything. It takes for granted that the questions do not contradict
    each other: that they are independent, or that what speaks for one speaks for the others, too.

    Source: Y. Hochberg, "A sharper Bonferroni procedure for multiple tests of significance", Biometrika 75 (1988),
        800-802; for dependence S. K. Sarkar, "Some probability inequalities for ordered MTP2 random variables: a proof
        of the Simes conjecture", Annals of Statistics 26 (1998), 494-504.
    """
    adjusted, smallest = [0.0] * len(p_values), 1.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one], reverse=True)):
        smallest = min(smallest, (rank + 1) * p_values[index])
        adjusted[index] = smallest
    return adjusted


def family_p_values(estimates: Sequence[Estimate], budget: float) -> list[float]:
    """Return for each of several losses the p-value of "it is the budget or less", with Holm's correction."""
    return holm_adjust([exceeds_p_value(estimate, budget) for estimate in estimates])


def decide_family(estimates: Sequence[Estimate], budget: float) -> list[Decision]:
    """Return the decisions on several losses that must all be within a budget.

    Passing needs no correction: all of them must be surely within, and the risk that a family with one member beyond is
    passed is the risk that this one is (an intersection-union test). Failing does: one member beyond is enough, and the
    more there are, the more often one of them looks so by chance; Holm's correction keeps the risk of any such error
    where it is for a single one.

    Source: R. L. Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24 (1982), 295-300.
    """
    decisions: list[Decision] = []
    for estimate, p_value in zip(estimates, family_p_values(estimates, budget), strict=True):
        decision = decide_budget(estimate, budget)
        sure = p_value <= (1.0 - estimate.confidence) / 2.0
        decisions.append("open" if decision == "beyond" and not sure else decision)
    return decisions


def samples_to_decide(
    drop: float, interval: tuple[float, float], budget: float, samples: int, *, confidence: float = CONFIDENCE
) -> int | None:
    """Return about how many samples would decide four times out of five, or None where no number would.

    The half-width shrinks with the square root of the number of samples; the estimate takes for granted that the true
    drop is the observed one. With the whole interval just on one side on average, chance would undo every second
    decision: the samples named leave room for it. None where drop and budget are equal, for then no number is enough.

    Source: the sample size of a one-sided normal test of the given power, ((z_α + z_β) / z_α)² times the number at
        which the interval's end meets the budget.
    """
    gap = abs(budget - drop)
    half_width = interval[1] - drop if drop < budget else drop - interval[0]
    if gap == 0 or half_width / gap > 1e6:
        return None
    z = normal_quantile(confidence)
    room = (z + normal_quantile(2.0 * POWER - 1.0)) / z
    return max(samples, math.ceil(samples * (room * half_width / gap) ** 2))

"""The rule on accuracy: what was lost, with its interval, against the budget."""

from compress.errors import ExitCode
from compress.gate.outcome import RuleOutcome
from compress.gate.policy import DEFAULT_MAX_DROP_POINTS, Policy
from compress.measure.statistics import samples_to_decide
from compress.report.record import Accuracy, Measurements
from compress.report.units import format_points, format_share, format_value


def accuracy_budget(accuracy: Accuracy, policy: Policy) -> float | None:
    """Return what may be lost, in the metric's own unit; None where nobody said and there is no default."""
    if accuracy.unit == "fraction":
        return (DEFAULT_MAX_DROP_POINTS if policy.max_drop is None else policy.max_drop) / 100
    return policy.max_drop


def misses_budget(measured: Measurements, policy: Policy) -> bool:
    """Return whether the measured drop itself, apart from its interval, is beyond the budget: worth another attempt."""
    budget = None if measured.accuracy is None else accuracy_budget(measured.accuracy, policy)
    return measured.accuracy is not None and budget is not None and measured.accuracy.drop > budget


def check_accuracy(measured: Measurements, policy: Policy) -> RuleOutcome:
    """Return whether the drop is within the budget."""
    accuracy = measured.accuracy
    if accuracy is None:
        return _accuracy_unmeasured(
            "The accuracy was not measured: there were no labelled samples; give them with --eval or in [data]."
        )
    if policy.require == "measured" and accuracy.measured_on == "simulated":
        return _accuracy_unmeasured(
            "The accuracy was simulated, not measured on the engine itself, which the policy requires."
        )
    budget = accuracy_budget(accuracy, policy)
    if budget is None:
        return _accuracy_unmeasured(
            f"The policy sets no max_drop, and there is no default for `{accuracy.metric}`, which is not a fraction."
        )
    low, high = accuracy.interval
    stated = _state_drop(accuracy, measured.accuracy_place)
    limit = _amount(accuracy, budget).removeprefix("+")
    if high <= budget:
        return RuleOutcome("accuracy", "pass", ExitCode.PASS, f"{stated}, within the budget of {limit}.")
    if low > budget:
        return RuleOutcome("accuracy", "fail", ExitCode.ACCURACY, f"{stated}, beyond the budget of {limit}.")
    needed = samples_to_decide(accuracy.drop, accuracy.interval, budget, accuracy.samples)
    remedy = (
        "no number of samples would decide, the drop lies on the budget"
        if needed is None
        else f"about {float(f'{needed:.2g}'):.0f} samples would decide"
    )
    reason = f"{stated}, on both sides of the budget of {limit}: {remedy}."
    return RuleOutcome("accuracy", "inconclusive", ExitCode.UNDECIDED, reason)


def _accuracy_unmeasured(reason: str) -> RuleOutcome:
    return RuleOutcome("accuracy", "unmeasured", ExitCode.UNDECIDED, reason)


def _state_drop(accuracy: Accuracy, where: str) -> str:
    low, high = (_amount(accuracy, end, unit=False) for end in accuracy.interval)
    return (
        f"The drop of {accuracy.metric} is {_amount(accuracy, accuracy.drop)} "
        f"({format_share(accuracy.confidence)} interval {low} to {high}, {accuracy.samples} samples, {where})"
    )


def _amount(accuracy: Accuracy, amount: float, *, unit: bool = True) -> str:
    if accuracy.unit == "value":
        return format_value(amount, signed=True)
    return f"{format_points(amount)} points" if unit else format_points(amount)

"""The rules on accuracy as a whole: what was lost, with its interval, in points and as a share of the original's."""

from dataclasses import replace

from compress.errors import ExitCode
from compress.gate.outcome import Finding, RuleName, RuleOutcome, many, unmeasured
from compress.gate.policy import DEFAULT_MAX_DROP_POINTS, Policy
from compress.measure.statistics import Estimate, paired_difference, rescale, samples_to_decide
from compress.report.hits import hit_table
from compress.report.measurements import RawMeasurements
from compress.report.record import Accuracy, Measurements
from compress.report.units import format_fraction, format_value


def accuracy_budget(accuracy: Accuracy, policy: Policy) -> float | None:
    """Return what may be lost, in the metric's own unit; None where nobody said and there is no default."""
    relative = policy.relative_drop
    both = (_points_budget(accuracy, policy), None if relative is None else relative * abs(accuracy.baseline))
    return min((budget for budget in both if budget is not None), default=None)


def misses_budget(measured: Measurements, policy: Policy) -> bool:
    """Return whether the measured drop itself, apart from its interval, is beyond the budget: worth another attempt."""
    budget = None if measured.accuracy is None else accuracy_budget(measured.accuracy, policy)
    return measured.accuracy is not None and budget is not None and measured.accuracy.drop > budget


def check_accuracy(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether the drop is within ``max_drop``."""
    accuracy = measured.accuracy
    missing = find_missing("accuracy", measured, policy)
    if accuracy is None or missing is not None:
        return missing or unmeasured("accuracy", "The accuracy was not measured.")
    budget = _points_budget(accuracy, policy)
    if budget is None:
        return unmeasured(
            "accuracy",
            f"The policy sets no max_drop, and there is no default for `{accuracy.metric}`, which is not a fraction.",
        )
    found = estimate_drop(accuracy, policy.confidence, raw)
    finding = _describe("accuracy", f"The drop of {accuracy.metric} is", found, budget, measured)
    return finding.settle(policy.inconclusive)


def check_relative_drop(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether the drop is within a share of the original's metric (``max_drop_relative``, ``preset``).

    The interval of the drop is divided by the original's metric as it was measured: that one varies too, but together
    with the drop (``benchmarks/gate_simulation.py`` has the coverage).
    """
    accuracy, budget = measured.accuracy, policy.relative_drop
    missing = find_missing("relative-drop", measured, policy)
    if accuracy is None or budget is None or missing is not None:
        return missing or unmeasured("relative-drop", "The accuracy was not measured.")
    scale = abs(accuracy.baseline)
    if scale == 0:
        reason = f"The original's {accuracy.metric} is 0: there is no share of it that could be lost."
        return unmeasured("relative-drop", reason, budget, "share")
    found = estimate_drop(accuracy, policy.confidence, raw)
    share = replace(found, value=found.value / scale, low=found.low / scale, high=found.high / scale)
    of = (format_fraction if accuracy.unit == "fraction" else format_value)(accuracy.baseline)
    subject = f"As a share of the original's {of}, the drop of {accuracy.metric} is"
    finding = replace(_describe("relative-drop", subject, share, budget, measured), unit="share")
    return finding.settle(policy.inconclusive)


def find_missing(rule: RuleName, measured: Measurements, policy: Policy) -> RuleOutcome | None:
    """Return the outcome of a rule on accuracy where there is none that may decide; None where there is."""
    if measured.accuracy is None:
        reason = "The accuracy was not measured: there were no labelled samples; give them with --eval or in [data]."
        return unmeasured(rule, reason)
    if policy.require == "measured" and measured.accuracy.measured_on == "simulated":
        reason = "The accuracy was simulated, not measured on the engine itself, which the policy requires."
        return unmeasured(rule, reason)
    return None


def estimate_drop(accuracy: Accuracy, confidence: float, raw: RawMeasurements | None) -> Estimate:
    """Return the drop with its interval at a confidence: as it is stored, from every sample's outcome, or stretched."""
    stored = Estimate(accuracy.drop, *accuracy.interval, accuracy.confidence, accuracy.method)
    if accuracy.confidence == confidence:
        return stored
    # The metric counts samples where there is a p-value of McNemar's.
    table = None if raw is None or accuracy.p_value is None else hit_table(raw)
    return rescale(stored, confidence) if table is None else paired_difference(table, confidence=confidence)


def remedy_by_samples(found: Estimate, budget: float, samples: int) -> str:
    """Return how many samples would decide, as the end of a sentence."""
    needed = samples_to_decide(found.value, (found.low, found.high), budget, samples, confidence=found.confidence)
    if needed is None:
        return "no number of samples would decide, the drop lies on the budget"
    return f"about {many(needed)} samples would decide"


def _points_budget(accuracy: Accuracy, policy: Policy) -> float | None:
    """Return ``max_drop`` in the metric's own unit, the default where nothing relative is demanded."""
    if accuracy.unit == "value":
        return policy.max_drop
    if policy.max_drop is None:
        return DEFAULT_MAX_DROP_POINTS / 100 if policy.relative_drop is None else None
    return policy.max_drop / 100


def _describe(rule: RuleName, subject: str, found: Estimate, budget: float, measured: Measurements) -> Finding:
    assert measured.accuracy is not None  # noqa: S101 - for the type checker: the caller has looked
    samples = measured.accuracy.samples
    return Finding(
        rule=rule,
        subject=subject,
        value=found.value,
        interval=(found.low, found.high),
        limit=budget,
        unit="points" if measured.accuracy.unit == "fraction" else "value",
        failure=ExitCode.ACCURACY,
        remedy=remedy_by_samples(found, budget, samples),
        details=(f"{samples} samples", measured.accuracy_place),
        confidence=found.confidence,
        noun="budget",
    )

"""What the charts show, in sentences: for who reads first, who cannot see them, and who prints."""

from compress.report.html.charts import pareto_front
from compress.report.html.flips import Changes
from compress.report.record import Accuracy, Latency, TargetRecord
from compress.report.rows import NOT_MEASURED
from compress.report.speed_record import Contest
from compress.report.units import format_points, format_ratio, format_seconds, format_share, format_value


def state_target(target: TargetRecord) -> str:
    """Return in one sentence what was gained and what was lost."""
    if target.engine is None:
        return f"No engine: {target.error or 'the report does not say why'}."
    parts = []
    if target.latency is not None:
        parts.append(_faster(target.latency))
    if target.size is not None and target.size.baseline:
        parts.append(f"{format_ratio(target.size.compressed / target.size.baseline)} the size")
    if target.accuracy is not None:
        parts.append(f"{target.accuracy.metric} {_change(target.accuracy)}")
    return f"Against the original: {', '.join(parts)}." if parts else "Nothing was measured of this engine."


def state_drop(target: TargetRecord) -> str:
    """Return the drop with its interval, and where both lie against the budget."""
    accuracy, budget = target.accuracy, target.budget
    if accuracy is None:
        return f"Accuracy was {NOT_MEASURED}: there were no labelled samples."
    low, high = accuracy.interval
    stated = (
        f"{accuracy.metric} drops by {_amount(accuracy, accuracy.drop)}, "
        f"{format_share(accuracy.confidence)} interval {_amount(accuracy, low)} to {_amount(accuracy, high)}"
    )
    if budget is None:
        return f"{stated}. The report does not hold the budget that it was judged by."
    limit = _amount(accuracy, budget).removeprefix("+")
    if high <= budget:
        return f"{stated}: all of it within the budget of {limit}."
    if low > budget:
        return f"{stated}: all of it beyond the budget of {limit}."
    return f"{stated}: on both sides of the budget of {limit}."


def state_latency(target: TargetRecord) -> str:
    """Return the ratio of the medians with its interval."""
    latency = target.latency
    if latency is None:
        return f"Latency was {NOT_MEASURED}."
    low, high = latency.interval
    return (
        f"The median goes from {format_seconds(latency.baseline.p50)} to {format_seconds(latency.compressed.p50)}: "
        f"{_faster(latency)}, speed-up {format_ratio(latency.speedup)} (95 % interval {format_ratio(low)} to "
        f"{format_ratio(high)})."
    )


def state_contest(contest: Contest) -> str:
    """Return how many candidates there were, and which of them nothing beats in both respects."""
    timed = [each for each in (*contest.engines, *contest.settings[1:]) if each.seconds is not None]
    front = pareto_front(contest)
    if not front:
        return "No candidate could be timed."
    names = "; ".join(each.how for each in front)
    return f"{len(timed)} candidates were timed; no other one is both faster and nearer to the original than: {names}."


def state_classes(changes: Changes) -> str:
    """Return how many samples changed, and which classes lost most."""
    share = format_share(changes.changed / changes.samples) if changes.samples else "none"
    said = (
        f"{changes.changed:,} of {changes.samples:,} predictions changed ({share}): {changes.lost:,} were right and "
        f"are wrong now, {changes.gained:,} were wrong and are right now."
    )
    worst = [each for each in changes.classes if each.change < 0][:3]
    if not worst:
        return f"{said} No class has a lower recall than before."
    losses = ", ".join(f"{each.name} ({format_points(each.change)} points)" for each in worst)
    return f"{said} The classes that lost most: {losses}."


def _faster(latency: Latency) -> str:
    """Return the speed-up in words; an engine is called slower only where its interval says so."""
    slower = latency.interval[1] < 1
    return f"{format_ratio(1 / latency.speedup)} slower" if slower else f"{format_ratio(latency.speedup)} as fast"


def _change(accuracy: Accuracy) -> str:
    drop = accuracy.drop
    if drop == 0:
        return "unchanged"
    sign = "loses" if drop > 0 else "gains"
    return f"{sign} {_amount(accuracy, abs(drop)).removeprefix('+')}"


def _amount(accuracy: Accuracy, amount: float) -> str:
    return f"{format_points(amount)} points" if accuracy.unit == "fraction" else format_value(amount, signed=True)

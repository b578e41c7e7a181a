"""One target as the page shows it: every text made, every chart's data at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compress.report.contest import contest_rows
from compress.report.html.charts import (
    Chart,
    class_chart,
    drop_chart,
    latency_chart,
    layer_chart,
    pareto_chart,
    pareto_front,
)
from compress.report.html.flips import Changes
from compress.report.html.layers import ROWS_OF_A_PAGE, LayerRow, join_layers, select_layers
from compress.report.html.pictures import MOST_BYTES
from compress.report.html.samples import SampleView, view_samples
from compress.report.html.trials import TrialRow, find_trials
from compress.report.html.words import state_contest, state_drop, state_latency, state_target
from compress.report.layers import describe_layers
from compress.report.measurements import RawMeasurements
from compress.report.record import Percentiles, Report, TargetRecord
from compress.report.rows import compare_rows, describe_attempts, describe_memory, name_compressed, name_outcome
from compress.report.speed import describe_rates, float_rows, kind_rows
from compress.report.units import format_seconds, format_share

if TYPE_CHECKING:
    from compress.gate import RuleOutcome

_LEAST_LAYERS: Final = 20


@dataclass(frozen=True, slots=True)
class TargetView:
    """What the template needs of one target; ``key`` is unique on the page and starts every ``id`` of it."""

    key: str
    record: TargetRecord
    outcome: str
    compressed: str
    summary: str
    drop: str
    speed: str
    percentiles: tuple[tuple[str, str, str, str, str], ...]
    contest: str
    contest_rows: list[tuple[tuple[str, str, str, str, str], bool]]
    attempts: tuple[str, ...]
    layers: list[LayerRow]
    hidden_layers: int
    layer_words: tuple[str, ...]
    kinds: list[tuple[str, str, str, str]]
    floats: list[tuple[str, str, str, str, str]]
    rates: str
    rules: tuple[tuple[str, str, str, str, str, str], ...]
    trials: list[TrialRow]
    samples: SampleView
    conditions: tuple[str, ...]
    charts: list[Chart]
    rows: tuple[object, ...]


def view_target(
    target: TargetRecord,
    raw: RawMeasurements | str | None,
    report: Report,
    number: int,
    rules: "Sequence[RuleOutcome]" = (),
) -> TargetView:
    """Return everything that the page says of a target.

    Args:
        target: Of the report.
        raw: What was stored of its samples and rounds, or why it cannot be used; None where nothing was.
        report: That it is of.
        number: Its place there, from 0.
        rules: What each rule of the gate says of it.
    """
    key = f"target-{number + 1}"
    measured = raw if isinstance(raw, RawMeasurements) else None
    samples = view_samples(raw, MOST_BYTES // len(report.targets))
    trials = find_trials(target, report)
    layers = join_layers(target)
    shown = select_layers(layers, max(_LEAST_LAYERS, ROWS_OF_A_PAGE // max(1, len(report.targets))))
    attribution, roofline = target.attribution, target.roofline
    return TargetView(
        key=key,
        record=target,
        outcome=name_outcome(target.verdict),
        compressed=name_compressed(target),
        summary=state_target(target),
        drop=state_drop(target),
        speed=state_latency(target),
        percentiles=_percentile_rows(target),
        contest="" if target.contest is None else state_contest(target.contest),
        contest_rows=_contest_rows(target),
        attempts=describe_attempts(target),
        layers=shown,
        hidden_layers=len(layers) - len(shown),
        layer_words=describe_layers(target.layers, (*report.steps, *target.steps)) if target.layers else (),
        kinds=[] if attribution is None else kind_rows(attribution),
        floats=[] if attribution is None else float_rows(attribution),
        rates="" if roofline is None else describe_rates(roofline),
        rules=tuple((each.rule, *each.cells(), each.status, each.reason) for each in rules),
        trials=trials,
        samples=samples,
        conditions=_conditions(target),
        charts=_charts(key, target, measured, shown, samples.changes, trials),
        rows=compare_rows(target),
    )


def _charts(
    key: str,
    target: TargetRecord,
    raw: RawMeasurements | None,
    layers: list[LayerRow],
    changes: Changes | None,
    trials: list[TrialRow],
) -> list[Chart]:
    charts: list[Chart | None] = []
    if target.accuracy is not None:
        charts.append(drop_chart(f"{key}-drop-chart", target.accuracy, target.budget))
    if target.latency is not None:
        charts.append(latency_chart(f"{key}-latency-chart", target.latency, raw))
    if trials or (target.contest is not None and pareto_front(target.contest)):
        charts.append(pareto_chart(f"{key}-candidates-chart", target.contest, trials))
    charts.append(layer_chart(f"{key}-layers-chart", layers))
    if changes is not None and changes.classes:
        charts.append(class_chart(f"{key}-classes-chart", changes))
    return [chart for chart in charts if chart is not None]


def _percentile_rows(target: TargetRecord) -> tuple[tuple[str, str, str, str, str], ...]:
    """Return p50, p90 and p99 of both engines, each with its interval."""
    if target.latency is None:
        return ()
    before, after = _spans(target.latency.baseline), _spans(target.latency.compressed)
    return tuple((name, *before[name], *after[name]) for name in before)


def _spans(found: Percentiles) -> dict[str, tuple[str, str]]:
    spans = {}
    for name in ("p50", "p90", "p99"):
        low, high = getattr(found, f"{name}_interval")
        upper = "not bounded" if high is None else format_seconds(high)
        spans[name] = (format_seconds(getattr(found, name)), f"{format_seconds(low)} to {upper}")
    return spans


def _contest_rows(target: TargetRecord) -> list[tuple[tuple[str, str, str, str, str], bool]]:
    """Return the rows of the contest, each with whether it is on the Pareto front."""
    if target.contest is None:
        return []
    front = pareto_front(target.contest)
    contestants = (*target.contest.engines, *target.contest.settings[1:])
    return [
        (row, any(each is one for one in front))
        for row, each in zip(contest_rows(target.contest), contestants, strict=True)
    ]


def _conditions(target: TargetRecord) -> tuple[str, ...]:
    accuracy, latency = target.accuracy, target.latency
    said = []
    if accuracy is not None:
        p_value = "" if accuracy.p_value is None else f", McNemar mid-p {accuracy.p_value:.2g}"
        said.append(
            f"Accuracy: {target.accuracy_place}, {accuracy.samples:,} samples, "
            f"{format_share(accuracy.confidence)} interval by {accuracy.method}{p_value}."
        )
    if latency is not None:
        said.append(
            f"Latency: {latency.compressed.runs} rounds timed in turn with the original, {latency.threads} thread(s), "
            f"batch {latency.batch}, 95 % interval of the ratio of medians."
        )
    said += describe_memory(target.memory)
    return (*said, *(() if target.engine is None else target.engine.notes), *(() if latency is None else latency.notes))

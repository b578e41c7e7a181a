"""The model card of an engine in the bill of materials: what goes in and comes out, its making, how good it is.

Source: CycloneDX 1.6, JSON reference, ``modelCard``.
"""

from compress.model import JsonValue, Model, TensorSpec
from compress.report.record import Accuracy, Latency, Report, TargetRecord


def describe_card(target: TargetRecord, report: Report, model: Model) -> dict[str, JsonValue]:
    """Return the card of a target's engine.

    Args:
        target: With what was measured; what was not is not there.
        report: Of the run.
        model: The graph that was taken in: the engine has its inputs and outputs.
    """
    used = {"calibration": report.data.calibration, "evaluation": report.data.evaluation}
    datasets: list[JsonValue] = [{"ref": f"data/{role}"} for role, samples in used.items() if samples is not None]
    steps = [step.step for step in (*report.steps, *target.steps)]
    parameters: dict[str, JsonValue] = {
        "modelArchitecture": f"{report.source.path} after {', '.join(steps) or 'no step'}",
        "datasets": datasets,
        "inputs": [{"format": _format(spec)} for spec in model.inputs],
        "outputs": [{"format": _format(spec)} for spec in model.outputs],
    }
    metrics = [*_accuracy(target.accuracy), *_latency(target.latency)]
    limits = [*target.verdict.reasons, *(target.engine.notes if target.engine else ())]
    analysis: dict[str, JsonValue] = {"quantitativeAnalysis": {"performanceMetrics": [*metrics]}} if metrics else {}
    return {
        "modelParameters": parameters,
        **analysis,
        "considerations": {"technicalLimitations": [*dict.fromkeys(limits)]},
    }


def _format(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]"


def _accuracy(accuracy: Accuracy | None) -> list[JsonValue]:
    if accuracy is None:
        return []
    where = f"{accuracy.samples} samples, {accuracy.measured_on}"
    return [
        _metric(accuracy.metric, accuracy.compressed, f"compressed; {where}"),
        _metric(accuracy.metric, accuracy.baseline, f"original; {where}"),
        _metric(f"{accuracy.metric} drop", accuracy.drop, where, accuracy.interval),
    ]


def _latency(latency: Latency | None) -> list[JsonValue]:
    if latency is None:
        return []
    how = f"batch {latency.batch}, threads {latency.threads}"
    return [
        _metric("latency p50, seconds", latency.compressed.p50, f"compressed; {how}", latency.compressed.p50_interval),
        _metric("latency p50, seconds", latency.baseline.p50, f"original; {how}", latency.baseline.p50_interval),
        _metric("speed-up", latency.speedup, how, latency.interval),
    ]


def _metric(
    kind: str, value: float, part: str, interval: tuple[float | None, float | None] | None = None
) -> dict[str, JsonValue]:
    """Return a figure; CycloneDX has all numbers as text."""
    bounds = dict(zip(("lowerBound", "upperBound"), interval or (), strict=False))
    known: dict[str, JsonValue] = {name: f"{bound:.6g}" for name, bound in bounds.items() if bound is not None}
    return {"type": kind, "value": f"{value:.6g}", "slice": part, **({"confidenceInterval": known} if known else {})}

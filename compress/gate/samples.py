"""The rules on single samples: how many were right and are wrong now, and how well confidences fit the accuracy."""

import numpy as np

from compress.errors import ExitCode
from compress.gate.accuracy import find_missing
from compress.gate.outcome import MORE_SAMPLES, Finding, RuleOutcome, format_limit, unmeasured
from compress.gate.policy import Policy
from compress.measure.statistics import CalibrationChange, calibration_change, proportion
from compress.report.hits import find_hits
from compress.report.measurements import RawMeasurements
from compress.report.record import Measurements
from compress.report.units import format_fraction


def check_flips(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether the share of samples that the original has right and the engine wrong is within a limit."""
    limit = (policy.max_flip_rate or 0.0) / 100
    if (missing := find_missing("flips", measured, policy)) is not None:
        return missing
    hits = None if raw is None else find_hits(raw)
    if hits is None or len(hits.before) == 0:
        reason = (
            f"A share of at most {format_limit(limit, 'percent')} of samples that turn wrong was asked for, and no "
            "outcome of every sample is stored that says whether it is right."
        )
        return unmeasured("flips", reason, limit, "percent")
    count = int(hits.lost.sum())
    found = proportion(count, len(hits.lost), confidence=policy.confidence)
    return Finding(
        rule="flips",
        subject="The share of samples that the original has right and the engine wrong is",
        value=found.value,
        interval=(found.low, found.high),
        limit=limit,
        unit="percent",
        failure=ExitCode.ACCURACY,
        remedy=MORE_SAMPLES,
        details=(f"{count} of {len(hits.lost)} samples",),
        confidence=found.confidence,
    ).settle(policy.inconclusive)


def check_calibration(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether the expected calibration error grew by no more than a limit."""
    limit = (policy.max_calibration_error_change or 0.0) / 100
    if (missing := find_missing("calibration", measured, policy)) is not None:
        return missing
    found = None if raw is None else _compare_calibration(raw, policy.confidence)
    if found is None:
        reason = (
            f"A calibration error that grows by at most {format_limit(limit, 'points')} was asked for, and no "
            "confidences and classes of every sample are stored."
        )
        return unmeasured("calibration", reason, limit, "points")
    errors = f"{format_fraction(found.baseline)} before, {format_fraction(found.compressed)} now"
    return Finding(
        rule="calibration",
        subject="The change of the expected calibration error is",
        value=found.change.value,
        interval=(found.change.low, found.change.high),
        limit=limit,
        unit="points",
        failure=ExitCode.ACCURACY,
        remedy=MORE_SAMPLES,
        details=(errors,),
        confidence=found.change.confidence,
    ).settle(policy.inconclusive)


def _compare_calibration(raw: RawMeasurements, confidence: float) -> CalibrationChange | None:
    """Return what became of the calibration; None where it takes more than is stored. A hit is a hit of the class."""
    if raw.label is None or len(raw.label) == 0:
        return None
    pairs = []
    for prediction, chances in (
        (raw.baseline_prediction, raw.baseline_confidence),
        (raw.compressed_prediction, raw.compressed_confidence),
    ):
        if prediction is None or chances is None:
            return None
        pairs.append((chances.astype(np.float64), prediction == raw.label))
    return calibration_change(pairs[0], pairs[1], confidence=confidence)

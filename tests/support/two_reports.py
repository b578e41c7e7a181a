"""Two reports of the same model that differ where a test wants them to, and what was stored beside them."""

import numpy as np
from small_reports import accuracy, cpu_target, report

from compress.report.measurements import RawMeasurements
from compress.report.record import Report, TargetRecord

SAMPLES = 1000


def hits(wrong: int, *, first: int = 0, samples: int = SAMPLES) -> RawMeasurements:
    """Return the outcomes of samples of which some, from one on, are wrong."""
    score = np.ones(samples, np.float32)
    score[first : first + wrong] = 0
    label = np.arange(samples, dtype=np.int32) % 10
    return RawMeasurements(baseline_score=np.ones(samples, np.float32), compressed_score=score, label=label)


def target_of(raw: RawMeasurements, **changes: object) -> TargetRecord:
    """Return a target whose accuracy is that of the outcomes."""
    assert raw.compressed_score is not None
    drop = 1.0 - float(raw.compressed_score.mean())
    record = accuracy(drop, (drop / 2, drop * 2), samples=raw.samples).model_copy(
        update={"baseline": 1.0, "compressed": 1.0 - drop}
    )
    return cpu_target().model_copy(update={"accuracy": record, **changes})


def with_target(target: TargetRecord, **changes: object) -> Report:
    """Return a report of one target."""
    return report(target).model_copy(update=changes)

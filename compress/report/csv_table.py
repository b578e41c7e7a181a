"""The report as CSV: a row for each target, in the units of the JSON; a cell is empty where nothing was measured."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import cast

from compress.report.record import Report, TargetRecord

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""

Cell = str | float | int | None


def render_csv(report: Report) -> str:
    """Return the table with a head (RFC 4180); text that a spreadsheet would compute gets an apostrophe before it."""
    rows = [_row(target) for target in report.targets]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else ["target"])
    writer.writeheader()
    writer.writerows({key: _safe(cell) for key, cell in row.items()} for row in rows)
    return out.getvalue()


def _row(target: TargetRecord) -> Mapping[str, Cell]:
    engine, accuracy, fidelity = target.engine, target.accuracy, target.fidelity
    latency, size = target.latency, target.size
    return {
        "target": target.target,
        "runtime": target.runtime,
        "engine": _read(engine, "kind"),
        "status": target.verdict.status,
        "exit_code": target.verdict.exit_code,
        "metric": _read(accuracy, "metric"),
        "accuracy_baseline": _read(accuracy, "baseline"),
        "accuracy_compressed": _read(accuracy, "compressed"),
        "drop": _read(accuracy, "drop"),
        "drop_low": _read(accuracy, "interval", 0),
        "drop_high": _read(accuracy, "interval", 1),
        "samples": _read(accuracy, "samples"),
        "measured_on": _read(accuracy, "measured_on"),
        "sqnr_db": _read(fidelity, "sqnr_db"),
        "agreement": _read(fidelity, "agreement"),
        "latency_p50_baseline": _read(latency, "baseline", "p50"),
        "latency_p50": _read(latency, "compressed", "p50"),
        "latency_p99": _read(latency, "compressed", "p99"),
        "speedup": _read(latency, "speedup"),
        "speedup_low": _read(latency, "interval", 0),
        "speedup_high": _read(latency, "interval", 1),
        "bytes_baseline": _read(size, "baseline"),
        "bytes": _read(size, "compressed"),
        "memory_peak_baseline": _read(target.memory, "baseline_peak"),
        "memory_peak": _read(target.memory, "compressed_peak"),
        "watts": _read(target.energy, "compressed_watts"),
        "joules_baseline": _read(target.energy, "baseline_joules"),
        "joules": _read(target.energy, "compressed_joules"),
    }


def _read(record: object, *path: str | int) -> Cell:
    """Return what lies at a path of fields and positions in a record, None where there is no record."""
    for step in path:
        if record is None:
            return None
        record = getattr(record, step) if isinstance(step, str) else cast("Sequence[object]", record)[step]
    return cast("Cell", record)


def _safe(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell

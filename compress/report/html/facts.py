"""What the whole run rests on, as rows of text: machines, data, source, steps, files."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from compress.report.record import Data, Machine, Report, Source, Step, TargetRecord
from compress.report.rows import describe_fidelity
from compress.report.units import format_bytes, format_seconds, format_share

Fact = tuple[str, str]
"""What it is, and its value."""


def machine_facts(targets: Sequence[TargetRecord]) -> list[tuple[str, list[Fact]]]:
    """Return every machine once: the targets that were measured there, and what is known of it."""
    described: dict[tuple[Fact, ...], list[str]] = {}
    for target in targets:
        described.setdefault(tuple(_facts(target.device)), []).append(target.target)
    return [(", ".join(names), list(facts)) for facts, names in described.items()]


def _facts(machine: Machine) -> list[Fact]:
    known: list[tuple[str, str | None]] = [
        ("measured on", machine.measured_on or "no device: nothing was measured on it"),
        ("CPU", machine.cpu),
        ("ISA", machine.isa or "unknown"),
        ("cores", str(machine.cores)),
        ("memory", format_bytes(machine.memory_bytes)),
        ("system", machine.system),
        ("governor", machine.governor),
        ("load", None if machine.load is None else f"{machine.load:.1f}"),
        ("steal", None if machine.steal is None else format_share(machine.steal)),
        ("temperature", None if machine.temperature_celsius is None else f"{machine.temperature_celsius:.0f} °C"),
        ("kind", None if machine.virtual is None else "virtual machine" if machine.virtual else "bare metal"),
    ]
    return [(what, value) for what, value in known if value is not None]


def source_facts(source: Source) -> list[Fact]:
    """Return what is known of the model file."""
    facts = [
        ("file", source.path),
        ("kind", source.kind),
        ("size", format_bytes(source.bytes)),
        ("parameters", f"{source.parameters:,}"),
        ("multiply-accumulates a sample", f"{source.macs:,}"),
        ("SHA-256", source.sha256),
    ]
    check = source.export_check
    if check is not None:
        stated = f"{describe_fidelity(check)}, largest difference {check.max_abs_error:.2g} on {check.samples} samples"
        facts.append(("exported graph against the model itself", stated))
    return facts


def data_rows(data: Data) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each sample set: role, name, samples, how many calibration saw too, SHA-256."""
    rows = []
    for role, found in (("calibration", data.calibration), ("evaluation", data.evaluation)):
        if found is not None:
            overlap = found.overlap_with_calibration
            shared = "" if overlap is None else "none" if overlap == 0 else f"{overlap:,} samples"
            name = f"{found.name} (made up)" if found.synthetic else found.name
            rows.append((role, name, f"{found.samples:,}", shared, found.digest))
    return rows


def step_rows(report: Report) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each step: target, name, settings, time, what it measured (tables stay in the JSON)."""
    rows = [("all", *_step(step)) for step in report.steps]
    return rows + [(target.target, *_step(step)) for target in report.targets for step in target.steps]


def _step(step: Step) -> tuple[str, str, str, str]:
    return step.step, _pairs(step.settings), format_seconds(step.seconds), _pairs(step.metrics)


def _pairs(values: Mapping[str, JsonValue]) -> str:
    shown = {key: value for key, value in values.items() if not _is_table(value)}
    return ", ".join(f"{key} {_scalar(value)}" for key, value in shown.items())


def _is_table(value: JsonValue) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value))


def _scalar(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def file_rows(targets: Sequence[TargetRecord]) -> list[tuple[str, str, str, str]]:
    """Return a row for each file beside the report: target, path, size, SHA-256."""
    rows = []
    for target in targets:
        files = () if target.engine is None else target.engine.files
        stored = () if target.measurements is None else (target.measurements,)
        rows += [(target.target, file.path, format_bytes(file.bytes), file.sha256) for file in (*files, *stored)]
    return rows

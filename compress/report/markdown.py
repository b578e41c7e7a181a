"""The report as Markdown: the verdict first, then what it rests on, in an order that a reviewer can follow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from compress.report.contest import CONTEST_HEAD, contest_rows
from compress.report.layers import HEAD, describe_layers, layer_rows
from compress.report.markdown_text import bullets, escape, table
from compress.report.record import DataSet, Machine, Report, Source, Step, TargetRecord
from compress.report.rows import (
    DIFFERENCE,
    compare_rows,
    describe_attempts,
    describe_fidelity,
    describe_memory,
    name_compressed,
    name_outcome,
)
from compress.report.speed import (
    BOUND_HEAD,
    FLOAT_HEAD,
    KIND_HEAD,
    bound_rows,
    describe_rates,
    float_rows,
    kind_rows,
)
from compress.report.units import format_bytes, format_seconds, format_share


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: its title as plain text, and its blocks as Markdown."""

    title: str
    blocks: tuple[str, ...]


def render_markdown(report: Report) -> str:
    """Return a report as GitHub-flavoured Markdown; text from models and machines is escaped."""
    blocks = [
        f"# Compression report: {escape(report.source.path)}",
        *render_verdict(report),
        *(block for part in render_sections(report) for block in (f"## {escape(part.title)}", *part.blocks)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def render_verdict(report: Report) -> tuple[str, str]:
    """Return the verdict, and its reasons as a list."""
    verdict = report.verdict
    return f"**{name_outcome(verdict)}** (exit code {verdict.exit_code})", bullets(verdict.reasons)


def render_sections(report: Report) -> tuple[Section, ...]:
    """Return what the verdict rests on: target by target, then the steps, the data and so on, none of them empty."""
    parts = [
        *((f"{one.target}: {name_outcome(one.verdict)}", _target(one, report.steps)) for one in report.targets),
        ("Steps", _steps(report)),
        ("Data", _data(report)),
        ("Source model", _source(report.source)),
        ("Machines", _machines(report.targets)),
        ("Files", _files(report.targets)),
        ("Reproduce", _reproduce(report)),
    ]
    found = (Section(title, tuple(block for block in blocks if block)) for title, blocks in parts)
    return tuple(part for part in found if part.blocks)


def _target(target: TargetRecord, shared: Sequence[Step]) -> Iterator[str]:
    if target.engine is None:
        yield f"No engine: {escape(target.error or 'the report does not say why')}."
        return
    rows = [(row.what, row.original, row.compressed, row.difference) for row in compare_rows(target)]
    yield table(("", "original", name_compressed(target), DIFFERENCE), rows)
    nodes = ", ".join(f"{count} {precision}" for precision, count in target.engine.nodes.items() if count)
    versions = ", ".join(f"{name} {version}" for name, version in target.engine.versions.items())
    yield from _contest(target)
    yield from _speed(target)
    yield bullets(
        [
            f"Engine: {target.engine.kind} for {target.runtime}, dialect {target.dialect}"
            + (f", {versions}" if versions else ""),
            *([f"Compute nodes: {nodes}"] if nodes else []),
            *_conditions(target),
            *describe_attempts(target),
            *target.engine.notes,
        ]
    )
    if target.layers:
        yield f"### Layers of {escape(target.target)} that lose most in INT8"
        yield bullets(describe_layers(target.layers, (*shared, *target.steps)))
        yield table(HEAD, layer_rows(target.layers))


def _contest(target: TargetRecord) -> Iterator[str]:
    """Yield which engine was chosen, and the table of those that it was chosen from."""
    if target.contest is None:
        return
    yield escape(target.contest.finding)
    yield table(CONTEST_HEAD, contest_rows(target.contest))
    yield bullets(target.contest.absent)


def _speed(target: TargetRecord) -> Iterator[str]:
    """Yield where the time goes, what stayed float and why, and how near the engine is to the roofline."""
    if target.attribution is not None:
        yield escape(target.attribution.finding)
        yield table(KIND_HEAD, kind_rows(target.attribution))
        if target.attribution.float_layers:
            yield table(FLOAT_HEAD, float_rows(target.attribution))
    if target.roofline is not None:
        yield escape(target.roofline.finding)
        rows = bound_rows(target.roofline)
        if rows:
            yield table(BOUND_HEAD, rows)
        yield escape(describe_rates(target.roofline))


def _conditions(target: TargetRecord) -> Iterator[str]:
    """Yield under what conditions the numbers of a target were measured."""
    accuracy, latency = target.accuracy, target.latency
    if accuracy is not None:
        p_value = "" if accuracy.p_value is None else f", McNemar mid-p {accuracy.p_value:.2g}"
        yield (
            f"Accuracy: {target.accuracy_place}, {accuracy.samples} samples, "
            f"{format_share(accuracy.confidence)} interval by {accuracy.method}{p_value}"
        )
    if latency is not None:
        yield (
            f"Latency: {latency.compressed.runs} rounds timed in turn with the original, "
            f"{latency.threads} thread(s), batch {latency.batch}, 95 % interval of the ratio of medians"
        )
        yield from latency.notes
    yield from describe_memory(target.memory)


def _steps(report: Report) -> Iterator[str]:
    rows = [("all", *_step(step)) for step in report.steps]
    rows += [(target.target, *_step(step)) for target in report.targets for step in target.steps]
    if rows:
        yield table(("target", "step", "settings", "time", "measured"), rows)


def _step(step: Step) -> tuple[str, str, str, str]:
    # Tables, layer by layer or trial by trial, are in report.json.
    measured = {key: value for key, value in step.metrics.items() if not _is_table(value)}
    return step.step, _pairs(step.settings), format_seconds(step.seconds), _pairs(measured)


def _is_table(value: JsonValue) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _pairs(values: Mapping[str, JsonValue]) -> str:
    return ", ".join(f"{key} {_scalar(value)}" for key, value in values.items())


def _scalar(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _data(report: Report) -> Iterator[str]:
    sets = (("calibration", report.data.calibration), ("evaluation", report.data.evaluation))
    rows = [
        (role, data.name + (" (made up)" if data.synthetic else ""), str(data.samples), _overlap(data), data.digest)
        for role, data in sets
        if data is not None
    ]
    if rows:
        yield table(("", "set", "samples", "also in calibration", "sha256"), rows)
    else:
        yield "No samples were given."
    yield bullets(report.data.notes)


def _overlap(data: DataSet) -> str:
    shared = data.overlap_with_calibration
    return "" if shared is None else "none" if shared == 0 else f"{shared} samples"


def _source(source: Source) -> Iterator[str]:
    facts = [
        f"{source.path}: {source.kind}, {format_bytes(source.bytes)}, sha256 {source.sha256}",
        f"{source.parameters:,} parameters, {source.macs:,} multiply-accumulates a sample",
    ]
    check = source.export_check
    if check is not None:
        facts.append(
            f"Exported graph against the model itself: {describe_fidelity(check)}, largest difference "
            f"{check.max_abs_error:.2g} on {check.samples} samples"
        )
    yield bullets([*facts, *source.notes])


def _machines(targets: Sequence[TargetRecord]) -> Iterator[str]:
    described: dict[tuple[str, ...], list[str]] = {}
    for target in targets:
        described.setdefault(tuple(_facts(target.device)), []).append(target.target)
    yield bullets(f"{', '.join(names)}: {'; '.join(facts)}" for facts, names in described.items())


def _facts(machine: Machine) -> Iterator[str]:
    yield (
        "no device: nothing was measured on it" if machine.measured_on is None else f"measured on {machine.measured_on}"
    )
    yield f"{machine.cpu} ({machine.isa or 'ISA unknown'})"
    yield f"{machine.cores} cores, {format_bytes(machine.memory_bytes)} memory"
    yield machine.system
    if machine.governor is not None:
        yield f"governor {machine.governor}"
    if machine.load is not None:
        yield f"load {machine.load:.1f}"
    if machine.steal is not None:
        yield f"steal {format_share(machine.steal)}"
    if machine.temperature_celsius is not None:
        yield f"{machine.temperature_celsius:.0f} °C"
    if machine.virtual is not None:
        yield "virtual machine" if machine.virtual else "bare metal"


def _files(targets: Sequence[TargetRecord]) -> Iterator[str]:
    rows = [
        (target.target, file.path, format_bytes(file.bytes), file.sha256)
        for target in targets
        if target.engine is not None
        for file in target.engine.files
    ]
    if rows:
        yield table(("target", "file", "size", "sha256"), rows)


def _reproduce(report: Report) -> Iterator[str]:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(report.tool.packages.items()))
    if report.command is not None:
        fence = "```"
        while fence in report.command:
            fence += "`"
        yield f"{fence}sh\n{report.command}\n{fence}"
    yield escape(f"edge-compress {report.tool.version}, seed {report.seed}, {report.created}. {packages}").rstrip()

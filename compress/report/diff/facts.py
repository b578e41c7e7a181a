"""The facts behind the numbers: model, samples, steps with their settings, versions, machine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from compress.report.diff.record import Area, Change
from compress.report.record import DataSet, Report, Step, TargetRecord

_MACHINE: Final = ("measured_on", "cpu", "isa", "cores", "memory_bytes", "system", "governor", "virtual")
_SOURCE: Final = ("sha256", "kind", "parameters", "macs", "bytes")

Facts = dict[str, JsonValue]


def compare_facts(before: Report, after: Report) -> tuple[Change, ...]:
    """Return every fact that is not the same in both reports; targets that only one has are left out."""
    pairs = [(one, other) for one in before.targets for other in after.targets if one.target == other.target]
    per_target = [list(_compare_targets(one, other, (before, after))) for one, other in pairs]
    return (
        *_compare("source", None, _source(before), _source(after)),
        *_compare("data", None, _data(before), _data(after)),
        *_join(per_target),
        *_compare("packages", None, _packages(before), _packages(after)),
        *_compare("run", None, _run(before), _run(after)),
    )


def _join(per_target: Sequence[Sequence[Change]]) -> Iterator[Change]:
    """Yield the changes of all targets; one that is the same everywhere once, as that of the whole run."""
    whole = [[change.model_copy(update={"target": None}) for change in changes] for changes in per_target]
    shared = [change for change in whole[0] if all(change in other for other in whole[1:])] if whole else []
    yield from shared
    for changes, named in zip(whole, per_target, strict=True):
        yield from (own for change, own in zip(changes, named, strict=True) if change not in shared)


def _compare_targets(before: TargetRecord, after: TargetRecord, reports: tuple[Report, Report]) -> Iterator[Change]:
    name = after.target
    # Steps that all targets of a report share stand in the report.
    chains = [(*report.steps, *target.steps) for report, target in zip(reports, (before, after), strict=True)]
    yield from _compare("steps", name, _steps(chains[0]), _steps(chains[1]))
    yield from _compare("steps", name, _target(before), _target(after))
    yield from _compare("packages", name, _versions(before), _versions(after))
    yield from _compare("machine", name, _read(before.device, _MACHINE), _read(after.device, _MACHINE))


def _compare(area: Area, target: str | None, before: Facts, after: Facts) -> Iterator[Change]:
    for what in dict.fromkeys([*before, *after]):
        one, other = before.get(what), after.get(what)
        if one != other:
            yield Change(area=area, target=target, what=what, before=one, after=other)


def _read(record: object, names: Sequence[str]) -> Facts:
    return {name.replace("_", " "): getattr(record, name) for name in names}


def _source(report: Report) -> Facts:
    return _read(report.source, _SOURCE)


def _data(report: Report) -> Facts:
    sets = {"calibration": report.data.calibration, "evaluation": report.data.evaluation}
    return {f"{role} {name}": value for role, used in sets.items() for name, value in _samples(used).items()}


def _samples(used: DataSet | None) -> Facts:
    return {} if used is None else _read(used, ("name", "digest", "samples", "synthetic"))


def _steps(steps: Sequence[Step]) -> Facts:
    """Return the order of the steps, and the settings by ``step.setting``."""
    order: list[JsonValue] = [step.step for step in steps]
    settings = {f"{step.step}.{key}": value for step in steps for key, value in step.settings.items()}
    return {"order": order, **settings}


def _target(target: TargetRecord) -> Facts:
    engine = target.engine
    return {
        "runtime": target.runtime,
        "dialect": target.dialect,
        "engine": None if engine is None else engine.kind,
        "shipped": None if target.contest is None else target.contest.shipped,
        "budget": target.budget,
        **({} if engine is None else {f"{name} nodes": count for name, count in engine.nodes.items()}),
    }


def _versions(target: TargetRecord) -> Facts:
    return {} if target.engine is None else _json(target.engine.versions)


def _packages(report: Report) -> Facts:
    return {"edge-compress": report.tool.version, **_json(report.tool.packages)}


def _run(report: Report) -> Facts:
    return {"command": report.command, "seed": report.seed}


def _json(values: Mapping[str, str]) -> Facts:
    return dict(values)

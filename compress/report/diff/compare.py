"""From two reports to their difference."""

import math
from collections.abc import Mapping
from typing import Final

from compress.report.diff.accuracy import compare_accuracy
from compress.report.diff.facts import compare_facts
from compress.report.diff.latency import compare_latency, same_machine
from compress.report.diff.layers import NOISE_DB, compare_layers
from compress.report.diff.record import Difference, NumberChange, Side, TargetDifference, Word
from compress.report.measurements import RawMeasurements
from compress.report.record import Fidelity, Report, Size, Source, TargetRecord, VerdictRecord

Stored = tuple[RawMeasurements | str, RawMeasurements | str]
Raw = Mapping[str, RawMeasurements | str]
"""What was stored beside a report by target, or the reason why that cannot be used."""

LEAST_SIZE: Final = 0.01
"""Of the larger engine: what names and settings in the file take, and not the weights."""
_ABSENT = "nothing was stored of single samples"


def compare_reports(before: Report, after: Report, raw: tuple[Raw, Raw], paths: tuple[str, str]) -> Difference:
    """Return what changed from one report to another.

    Args:
        before: The first one.
        after: The second one.
        raw: Of both.
        paths: Where they lie, as the user says it.
    """
    firsts, seconds = ({target.target: target for target in report.targets} for report in (before, after))
    targets = []
    for name in dict.fromkeys([*firsts, *seconds]):
        one, other = firsts.get(name), seconds.get(name)
        found = TargetDifference(
            target=name,
            before=None if one is None else _side(before, paths[0], one.verdict),
            after=None if other is None else _side(after, paths[1], other.verdict),
        )
        if one is not None and other is not None:
            stored = raw[0].get(name, _ABSENT), raw[1].get(name, _ABSENT)
            found = _compare_target(found, one, other, (before, after), stored)
        targets.append(found)
    return Difference(
        before=_side(before, paths[0], before.verdict),
        after=_side(after, paths[1], after.verdict),
        targets=tuple(targets),
        changes=compare_facts(before, after),
        notes=_compare_sources(before.source, after.source),
    )


def _compare_sources(before: Source, after: Source) -> tuple[str, ...]:
    """Return what it means for every number that the reports are of two models; nothing where they are of one."""
    if before.sha256 == after.sha256:
        return ()
    if (before.parameters, before.macs) == (after.parameters, after.macs):
        return ("The model files differ and are of one size: if one network was trained twice, that is in it too.",)
    one, other = (f"{each.path} ({each.parameters:,} parameters, {each.macs:,} MACs)" for each in (before, after))
    told = f"The reports are of two models, {one} and {other}"
    return (f"{told}: the differences are not those of the compression alone.",)


def _compare_target(
    found: TargetDifference, one: TargetRecord, other: TargetRecord, reports: tuple[Report, Report], stored: Stored
) -> TargetDifference:
    same_data = _have_same_data(*reports)
    return found.model_copy(
        update={
            "accuracy": compare_accuracy(one.accuracy, other.accuracy, stored, same_data=same_data),
            "sqnr_db": _compare_fidelity(one.fidelity, other.fidelity, same_data=same_data),
            "latency": compare_latency(one, other, reports),
            "size": _compare_size(one.size, other.size),
            "memory": _compare_readings(_peak(one), _peak(other), one, other),
            "energy": _compare_readings(_joules(one), _joules(other), one, other),
            "layers": compare_layers(one, other, same_machine=same_machine(one.device, other.device)),
        }
    )


def _compare_fidelity(before: Fidelity | None, after: Fidelity | None, *, same_data: bool) -> NumberChange | None:
    if before is None or after is None:
        return None
    # No noise at all is more than any number of decibels.
    first, second = (math.inf if one.sqnr_db is None else one.sqnr_db for one in (before, after))
    word: Word = "better" if second > first else "worse"
    if first == second:
        word = "equal"
    elif abs(second - first) < NOISE_DB:
        word = "no sure difference"
    return NumberChange(before=before.sqnr_db, after=after.sqnr_db, word=word if same_data else "not comparable")


def _compare_size(before: Size | None, after: Size | None) -> NumberChange | None:
    if before is None or after is None:
        return None
    first, second = before.compressed, after.compressed
    word: Word = "better" if second < first else "worse"
    if abs(second - first) <= LEAST_SIZE * max(first, second):
        word = "equal" if first == second else "about equal"
    return NumberChange(before=first, after=second, word=word)


def _peak(target: TargetRecord) -> float | None:
    return None if target.memory is None else target.memory.compressed_peak


def _joules(target: TargetRecord) -> float | None:
    return None if target.energy is None else target.energy.compressed_joules


def _compare_readings(
    before: float | None, after: float | None, one: TargetRecord, other: TargetRecord
) -> NumberChange | None:
    """Return the change of something that was read once in each run; None where either was not read."""
    if before is None or after is None:
        return None
    word: Word = "no interval" if same_machine(one.device, other.device) else "not comparable"
    return NumberChange(before=before, after=after, word="equal" if before == after else word)


def _have_same_data(before: Report, after: Report) -> bool:
    first, second = before.data.evaluation, after.data.evaluation
    return first is not None and second is not None and first.digest == second.digest


def _side(report: Report, path: str, verdict: VerdictRecord) -> Side:
    return Side(
        path=path,
        created=report.created,
        model=report.source.path,
        sha256=report.source.sha256,
        version=report.tool.version,
        status=verdict.status,
        exit_code=verdict.exit_code,
    )

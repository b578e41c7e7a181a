"""The rules on groups of samples: the worst drop of a class, and of a slice of the samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.errors import ExitCode
from compress.gate.accuracy import find_missing, remedy_by_samples
from compress.gate.outcome import MORE_SAMPLES, Finding, RuleName, RuleOutcome, format_limit, unmeasured
from compress.gate.policy import Policy
from compress.measure.statistics import Decision, Estimate, decide_family, family_p_values, score_interval
from compress.report.hits import PairedHits, find_hits
from compress.report.measurements import RawMeasurements
from compress.report.record import Measurements

_NAMED: Final = 5
"""Groups that a reason names beside the worst."""
_RANK: Final[Mapping[Decision, int]] = {"within": 0, "open": 1, "beyond": 2}
_ALSO: Final[Mapping[Decision, str]] = {"open": "Undecided too:", "beyond": "Beyond too:"}
_NO_HITS: Final = "no outcome of every sample is stored that says whether it is right"
_NO_CLASSES: Final = "no class of every sample is stored"
_NO_SLICES: Final = "the evaluation samples have no column and no folders to slice them by (at most 200 short values)"


@dataclass(frozen=True, slots=True)
class Group:
    """A class or a slice: its name, how many samples it has, and what it lost of them, as a fraction."""

    name: str
    samples: int
    drop: Estimate


def check_classes(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether no class lost more than ``max_class_drop``."""
    limit = (policy.max_class_drop or 0.0) / 100
    if (missing := find_missing("class-drop", measured, policy)) is not None:
        return missing
    hits = None if raw is None else find_hits(raw)
    if raw is None or hits is None or raw.label is None:
        return _unmeasured(
            "class-drop", "class", limit, _NO_HITS if raw is None or raw.label is not None else _NO_CLASSES
        )
    names, places = np.unique(raw.label, return_inverse=True)
    groups = compare_groups([_class_name(raw, int(number)) for number in names], places, hits, policy.confidence)
    return _judge("class-drop", ("class", "classes"), groups, limit, policy)


def check_slices(measured: Measurements, policy: Policy, raw: RawMeasurements | None) -> RuleOutcome:
    """Return whether no slice, of whatever column, lost more than ``max_slice_drop``."""
    limit = (policy.max_slice_drop or 0.0) / 100
    if (missing := find_missing("slice-drop", measured, policy)) is not None:
        return missing
    hits = None if raw is None else find_hits(raw)
    if raw is None or hits is None or not raw.groupings:
        return _unmeasured("slice-drop", "slice", limit, _NO_HITS if hits is None else _NO_SLICES)
    groups: list[Group] = []
    for column, values in raw.groupings.items():
        names, places = np.unique(values, return_inverse=True)
        groups += compare_groups([f"{column} = {name}" for name in names], places, hits, policy.confidence)
    left_out = [f"`{column}`" for column in raw.slices if column not in raw.groupings]
    remark = f"Left out: {', '.join(left_out)}, with more than 200 values or whole texts." if left_out else ""
    return _judge("slice-drop", ("slice", "slices"), groups, limit, policy, remark=remark)


def compare_groups(names: Sequence[str], places: NDArray[np.int64], hits: PairedHits, confidence: float) -> list[Group]:
    """Return what each group lost, with Tango's paired score interval.

    Args:
        names: Of the groups.
        places: The group of each sample [samples], as an index of ``names``.
        hits: What is right.
        confidence: Of the intervals.
    """
    totals = np.bincount(places, minlength=len(names)).astype(np.float64)
    lost = np.bincount(places, hits.lost, len(names)).astype(np.float64)
    won = np.bincount(places, hits.won, len(names)).astype(np.float64)
    low, high = score_interval(lost, won, totals, confidence=confidence)
    drops = (lost - won) / totals
    ends = zip(names, totals, drops, low, high, strict=True)
    method = "Tango's paired score interval"
    return [
        Group(name, int(total), Estimate(float(drop), float(a), float(b), confidence, method))
        for name, total, drop, a, b in ends
    ]


def _judge(
    rule: RuleName, kinds: tuple[str, str], groups: Sequence[Group], limit: float, policy: Policy, *, remark: str = ""
) -> RuleOutcome:
    kind, kinds_ = kinds
    drops = [group.drop for group in groups]
    decisions = decide_family(drops, limit)
    ranked = sorted(
        zip(groups, decisions, strict=True),
        key=lambda pair: (_RANK[pair[1]], pair[0].drop.value, pair[0].drop.high),
        reverse=True,
    )
    worst, decision = ranked[0]
    others = [group.name for group, other in ranked[1:] if other == decision]
    by_chance = decision == "open" and worst.drop.low > limit
    finding = Finding(
        rule=rule,
        subject=f"The worst {kind} is `{worst.name}`: its drop is",
        value=worst.drop.value,
        interval=(worst.drop.low, worst.drop.high),
        limit=limit,
        unit="points",
        failure=ExitCode.ACCURACY,
        remedy=f"one of {len(groups)} looks so by chance too often (Holm's correction), {MORE_SAMPLES}"
        if by_chance
        else f"{remedy_by_samples(worst.drop, limit, worst.samples)} for it",
        details=(f"{worst.samples} samples", f"of {len(groups)} {kinds_}"),
        confidence=worst.drop.confidence,
        noun="budget",
        decision=decision,
        p_value=min(family_p_values(drops, limit)),
        placed="beyond" if by_chance else "",
        remark=" ".join(filter(None, (_name_others(decision, others), remark))),
    )
    return finding.settle(policy.inconclusive)


def _name_others(decision: Decision, names: Sequence[str]) -> str:
    if decision == "within" or not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{_ALSO[decision]} {', '.join(f'`{name}`' for name in names[:_NAMED])}{more}."


def _class_name(raw: RawMeasurements, number: int) -> str:
    names = raw.class_names
    return str(names[number]) if names is not None and 0 <= number < len(names) else f"class {number}"


def _unmeasured(rule: RuleName, kind: str, limit: float, why: str) -> RuleOutcome:
    asked = f"A drop of at most {format_limit(limit, 'points')} of every {kind} was asked for"
    return unmeasured(rule, f"{asked}, and {why}.", limit, "points")

"""A stored report judged once more for another form of it: by which policy, and where that was written down."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from compress.gate import Outcomes, Policy
    from compress.gate.regression import Side
    from compress.report.record import Report
    from compress.report.sarif.places import Place

_LOCK: Final = "recipe.lock.toml"
_KEYS: Final = {
    "lint/data": ("data", "calibration"),
    "lint/model": ("model", "inputs"),
    "lint/float-is-fastest": ("engine", "providers"),
    "lint/not-fused": ("recipe.quantize", None),
    "lint/noisy-layer": ("recipe.quantize", None),
}
"""The table and the key that a finding is about; those of the gate are under the policy's keys."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A policy, and whose it is.

    Attributes:
        policy: What is demanded.
        source: A file that was given; the ``recipe.lock.toml`` of the run; nobody's, so it is the default one.
        file: Where it was written down; None for the default one.
    """

    policy: "Policy"
    source: Literal["file", "run", "default"]
    file: Path | None

    @property
    def place(self) -> str:
        """Where a mistake in it is, for messages: ``"gate.toml: [gate]"``."""
        return "the policy" if self.file is None else f"{self.file}: [gate]"

    def describe(self) -> str:
        """Return whose it is in words: ``"that of the run (recipe.lock.toml)"``."""
        if self.file is None:
            return f"the default (no {_LOCK} beside the report)"
        return f"that of the run ({self.file.name})" if self.source == "run" else str(self.file)


def judge_report(report: "Report", path: Path, policy: Path | None) -> "Outcomes":
    """Return the outcomes of every target's rules.

    Args:
        report: What was measured.
        path: Of the report.
        policy: A TOML file with a ``[gate]`` table; where None, the policy that the run judged by, from the
            ``recipe.lock.toml`` beside the report; the default one where there is none.

    Raises:
        ConfigError: The policy cannot be read.
    """
    demand = read_demand(path, policy)
    return apply_policy(report, path, demand.policy, demand.place)


def read_demand(path: Path, policy: Path | None) -> Demand:
    """Return the policy of a file, or where None is given that of the run whose report this is, or the default one.

    Args:
        path: Of the report, or of the folder it lies in.
        policy: A TOML file with a ``[gate]`` table.

    Raises:
        ConfigError: The policy cannot be read.
    """
    from compress.gate import Policy, read_policy

    if policy is not None:
        return Demand(read_policy(policy), "file", policy)
    lock = folder_of(path) / _LOCK
    return Demand(read_policy(lock), "run", lock) if lock.is_file() else Demand(Policy(), "default", None)


def apply_policy(report: "Report", path: Path, policy: "Policy", place: str) -> "Outcomes":
    """Return the outcomes of every target's rules under a policy; every sample's outcome is read where one needs it.

    Args:
        report: What was measured.
        path: Of the report.
        policy: What is demanded.
        place: Where that was written down, for messages.

    Raises:
        ConfigError: The file of outcomes that the report names is not there or damaged, or a limit that no metric has.
    """
    from compress.gate import check_targets
    from compress.report.measurements import read_measurements

    raw = {}
    for target in report.targets:
        if target.accuracy is not None:
            policy.refuse_impossible(target.accuracy.unit, place)
        if policy.needs_samples() and target.measurements is not None:
            raw[target.target] = read_measurements(target.measurements, folder_of(path))
    return check_targets(report.targets, policy, raw)


def judge_again(report: "Report", path: Path, policy: Path) -> "Report":
    """Return a report with the verdicts that another policy gives.

    Raises:
        ConfigError: The policy cannot be read, or the report has no targets.
    """
    from compress.errors import ConfigError
    from compress.gate import judge_targets

    outcomes = judge_report(report, path, policy)
    if not outcomes:
        raise ConfigError(f"{path} has no targets", hint="there is nothing to judge: run `compress run` again")
    targets, verdict = judge_targets(report.targets, outcomes)
    return report.model_copy(update={"targets": targets, "verdict": verdict})


def read_sides(report: "Report", path: Path) -> "dict[str, Side]":
    """Return the targets of a report by name, with every sample's outcome where the report names a file of them.

    Raises:
        ConfigError: That file is not there or damaged.
    """
    from compress.gate.regression import Side
    from compress.report.measurements import read_measurements

    sides = {}
    for target in report.targets:
        raw = None if target.measurements is None else read_measurements(target.measurements, folder_of(path))
        sides[target.target] = Side(report, target, raw, str(path))
    return sides


def locate_rule(identifier: str, report: "Report", path: Path, policy: Path | None) -> "Place":
    """Return where a rule was written down: in the policy, in ``compress.toml``, in the recipe, or in the lock file.

    Args:
        identifier: Of the rule, as in SARIF.
        report: Its command names the model, beside which ``compress.toml`` lies, and the recipe.
        path: Of the report, which is the place where nothing else is known.
        policy: The file that the report is judged by; None for the run's own.
    """
    from compress.gate import RULE_KEYS
    from compress.report.sarif.places import Place, find_place

    kind, _, name = identifier.partition("/")
    keys: Mapping[str, str] = {str(rule): key for rule, key in RULE_KEYS.items()}
    table, key = ("gate", keys.get(name)) if kind == "gate" else _KEYS.get(identifier, ("", name.replace("-", "_")))
    lock = folder_of(path) / _LOCK
    judged_by = [policy] if kind == "gate" and policy is not None else None
    files = judged_by or [*_written_by_people(report.command, key), lock]
    found = find_place(files, table, key)
    if found is None and table.startswith("recipe."):
        found = find_place(files, table.removeprefix("recipe."), key)
    return found or Place(path / "report.json" if path.is_dir() else path)


def folder_of(path: Path) -> Path:
    """Return the folder that a report lies in, given the report or the folder itself."""
    return path if path.is_dir() else path.parent


def _written_by_people(command: str | None, key: str | None) -> list[Path]:
    """Return the recipe and the ``compress.toml`` of a command, as far as no flag says the same."""
    try:
        words = shlex.split(command or "")
    except ValueError:  # a report that somebody edited
        return []
    if words[:2] != ["compress", "run"] or len(words) < 3:
        return []
    return [*_recipe(words), *([] if _flag(key) in words else [Path(words[2]).parent / "compress.toml"])]


def _recipe(words: Sequence[str]) -> list[Path]:
    given = [Path(value) for flag, value in pairwise(words) if flag == "--recipe"]
    return [path for path in given if path.suffix == ".toml"]


def _flag(key: str | None) -> str:
    return "--data" if key == "calibration" else f"--{(key or '').replace('_', '-')}"

"""A stored report judged once more for another form of it: by which policy, and where that was written down."""

import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from compress.gate import RuleOutcome
    from compress.report.record import Report
    from compress.report.sarif.places import Place

_LOCK: Final = "recipe.lock.toml"
_KEYS: Final = {
    "gate/accuracy": ("gate", "max_drop"),
    "gate/latency": ("gate", "max_latency"),
    "gate/speed-up": ("gate", "min_speedup"),
    "gate/size": ("gate", "max_size"),
    "lint/data": ("data", "calibration"),
    "lint/model": ("model", "inputs"),
    "lint/float-is-fastest": ("engine", "providers"),
    "lint/not-fused": ("recipe.quantize", None),
    "lint/noisy-layer": ("recipe.quantize", None),
}
"""The table and the key that a rule stands in; rules of the gate that are not here stand under their own name."""


def judge_report(report: "Report", path: Path, policy: Path | None) -> "list[tuple[str, tuple[RuleOutcome, ...]]]":
    """Return the outcomes of every target's rules.

    Args:
        report: What was measured.
        path: Of the report.
        policy: A TOML file with a ``[gate]`` table; where None, the policy that the run judged by, from the
            ``recipe.lock.toml`` beside the report; the default one where there is none.

    Raises:
        ConfigError: The policy cannot be read.
    """
    from compress.gate import Policy, check_rules, read_policy

    lock = folder_of(path) / _LOCK
    chosen = policy or (lock if lock.is_file() else None)
    limits = Policy() if chosen is None else read_policy(chosen)
    return [(target.target, check_rules(target, limits)) for target in report.targets]


def locate_rule(identifier: str, report: "Report", path: Path, policy: Path | None) -> "Place":
    """Return where a rule was written down: in the policy, in ``compress.toml``, in the recipe, or in the lock file.

    Args:
        identifier: Of the rule, as in SARIF.
        report: Its command names the model, beside which ``compress.toml`` lies, and the recipe.
        path: Of the report, which is the place where nothing else is known.
        policy: The file that the report is judged by; None for the run's own.
    """
    from compress.report.sarif.places import Place, find_place

    kind, _, name = identifier.partition("/")
    table, key = _KEYS.get(identifier, ("gate" if kind == "gate" else "", name.replace("-", "_")))
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

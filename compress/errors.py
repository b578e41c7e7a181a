"""The one exception tree.

::

    CompressError                 exit 2: what a person can mend; message + hint
    ├── UsageError                exit 2: a flag or a combination of flags
    ├── ConfigError               exit 2: compress.toml, a recipe, a policy, a target file, a report
    ├── ModelError                exit 2: a model file that cannot be taken
    ├── DataError                 exit 2: samples that cannot be taken
    ├── PruneError                exit 2: cuts that the graph does not have, a plan for another model
    └── TargetError               exit 20: the target cannot be built or reached here
    ConditionError                exit 1: our own bug; a step broke one of its conditions

Whoever raises one names the concrete value in the message and what to do about it in the hint.
"""

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


class ExitCode(IntEnum):
    """What the process says to its caller (DESIGN: verdict and exit codes)."""

    PASS = 0
    INTERNAL = 1
    USAGE = 2
    ACCURACY = 10
    LATENCY = 11
    SIZE = 12
    UNDECIDED = 13
    TARGET = 20


def printable(text: str) -> str:
    """Return text that no terminal takes a command from: a control character becomes its hexadecimal number."""
    return text.translate(_CONTROLS)


class CompressError(Exception):
    """Something that the user can mend.

    Args:
        message: What is wrong and where, with the concrete value. One sentence, no final full stop needed.
        hint: What to do about it, or None where nothing sensible can be said.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CompressError):
    """A flag, or a combination of flags, that makes no sense."""


class ConfigError(CompressError):
    """A configuration file, a policy, a recipe, a target or a report that cannot be read."""


class ModelError(CompressError):
    """A model file that cannot be taken."""


class DataError(CompressError):
    """Samples that cannot be taken."""


class PruneError(CompressError):
    """Cuts that a graph cannot have, or a plan that is for another model."""


class TargetError(CompressError):
    """A target that cannot be built or reached on this machine."""

    exit_code = ExitCode.TARGET


class ConditionError(Exception):
    """A pre- or post-condition of a step does not hold: a bug of this project, not of the user."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known name and lists all of them.

    >>> suggest("jetsom", ["jetson", "cpu"])
    'Did you mean `jetson`? Known: cpu, jetson.'
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    question = f"Did you mean `{nearest[0]}`? " if nearest else ""
    return f"{question}Known: {', '.join(names)}."

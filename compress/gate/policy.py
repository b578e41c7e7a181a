"""The policy: what a release demands, as the ``[gate]`` table of a TOML file, with flags that win over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.config import explain, read_toml
from compress.errors import ConfigError, UsageError
from compress.quantities import Duration, Size

DEFAULT_MAX_DROP_POINTS: Final = 1.0
"""What a release may lose at most where nobody says otherwise."""

_FLAG_HINTS: Final = {
    "--max-drop": "points of accuracy, zero or more: --max-drop 0.5",
    "--max-latency": "a number and its unit: --max-latency 8ms",
    "--max-size": "a number and its unit: --max-size 5MB",
    "--min-speedup": "a ratio greater than zero: --min-speedup 1.5",
    "--require": "simulated or measured",
}


class Policy(BaseModel):
    """What a release demands: the ``[gate]`` table of ``compress.toml`` or of a policy file. Confidence is 95 %.

    Attributes:
        max_drop: In points for metrics that are fractions (by default 1.0), in the metric's own unit for others (no
            default there: one unit says nothing about another).
        max_latency: Seconds that the p99 of one call may take; ``"8ms"`` in TOML.
        max_size: Bytes that the engine may have; ``"5MB"`` in TOML.
        min_speedup: Least ratio of the original's median latency to the engine's.
        require: Whether an accuracy simulated on this CPU may decide, or only one measured on the engine itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_drop: Annotated[float, Field(ge=0)] | None = None
    max_latency: Duration | None = None
    max_size: Size | None = None
    min_speedup: Annotated[float, Field(gt=0)] | None = None
    require: Literal["simulated", "measured"] = "simulated"


def make_policy(table: Mapping[str, object], place: str) -> Policy:
    """Return the policy that a ``[gate]`` table describes.

    Args:
        table: Parsed TOML.
        place: Where it stands, for messages: ``"policy.toml: [gate]"``.

    Raises:
        ConfigError: An unknown key or a value that is not what the key takes.
    """
    try:
        return Policy.model_validate(dict(table))
    except ValidationError as error:
        raise explain(error, place, Policy) from error


def read_policy(path: Path) -> Policy:
    """Return the policy in the ``[gate]`` table of a TOML file (a ``compress.toml`` is one).

    Raises:
        ConfigError: No such file, not TOML, no ``[gate]`` table, or a mistake in it.
    """
    table = read_toml(path).get("gate")
    if not isinstance(table, dict):
        raise ConfigError(f"{path} has no [gate] table", hint='put the limits under [gate]: max_size = "5MB"')
    return make_policy(table, f"{path}: [gate]")


def override_policy(policy: Policy, flags: Mapping[str, object]) -> Policy:
    """Return a policy with some fields replaced by what flags say (text as typed); None leaves a field as it is.

    Raises:
        UsageError: A value that the flag does not take; the message names the flag.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Policy.model_validate(policy.model_dump(exclude_unset=True) | given)
    except ValidationError as error:
        wrong = error.errors()[0]
        flag = "--" + str(wrong["loc"][0]).replace("_", "-")
        raise UsageError(f"{flag} {wrong['input']}: {wrong['msg']}", hint=_FLAG_HINTS.get(flag)) from error

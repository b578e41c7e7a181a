"""The policy: what a release demands, as the ``[gate]`` table of a TOML file, with flags that win over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.config import explain, read_toml
from compress.errors import ConfigError, UsageError
from compress.measure.statistics import CONFIDENCE
from compress.quantities import Duration, Energy, Size

DEFAULT_MAX_DROP_POINTS: Final = 1.0
"""What a release may lose at most where nobody says otherwise."""
DEFAULT_MAX_REGRESSION_POINTS: Final = 0.5
"""What it may lose against an earlier report: the least loss that is worth a name."""
DEFAULT_MAX_SLOWDOWN_PERCENT: Final = 10.0
"""How much slower than in an earlier report it may be. Measured (``benchmarks/latency_regression.py``): of 276 pairs of
separate runs of one engine on a busy machine, 5 % called 20 slower and 10 % none; of an engine that takes 15 % longer,
10 % found 274."""

PRESETS: Final[Mapping[str, float]] = {"mlperf-99": 1.0, "mlperf-99.9": 0.1}
"""Percent of the original's metric that may be lost. Source: MLCommons, MLPerf Inference rules."""

_FLAG_HINTS: Final = {
    "--max-latency": "a number and its unit: --max-latency 8ms",
    "--max-p99": "a number and its unit: --max-p99 8ms",
    "--max-size": "a number and its unit: --max-size 5MB",
    "--max-memory": "a number and its unit: --max-memory 64MiB",
    "--max-energy": "a number and its unit: --max-energy 5mJ",
    "--min-speedup": "a ratio greater than zero: --min-speedup 1.5",
    "--require": "simulated or measured",
    "--max-drop": "points of accuracy, zero or more: --max-drop 0.5",
    "--preset": f"one of {', '.join(PRESETS)}",
    "--confidence": "a share between 0.5 and 1: --confidence 0.99",
    "--inconclusive": "fail, undecided or pass",
}
_Percent = Annotated[Annotated[float, Field(ge=0, le=100)] | None, Field(description="percent, 0 to 100")]
_Points = Annotated[
    Annotated[float, Field(ge=0, le=100)] | None,
    Field(description="points, 0 to 100: of an accuracy of 92 %, 0.5 leaves 91.5 %"),
]
_Slowdown = Annotated[Annotated[float, Field(ge=0, le=1000)] | None, Field(description="percent, 0 to 1000")]


class Policy(BaseModel):
    """What a release demands: the ``[gate]`` table of ``compress.toml`` or of a policy file.

    Attributes:
        preset: ``mlperf-99`` or ``mlperf-99.9``: that many percent of the original's metric must remain.
        max_drop: In points for metrics that are fractions (by default 1.0, where nothing relative is demanded), in the
            metric's own unit for others (no default there: one unit says nothing about another).
        max_drop_relative: In percent of the original's metric; wins over the preset's.
        max_class_drop: Points that the samples of any one class may lose.
        max_slice_drop: The same of any one slice of the samples.
        max_flip_rate: Percent of all samples that the original may have right and the engine wrong.
        max_calibration_error_change: Points by which the expected calibration error may grow.
        max_latency: Seconds that the p99 of one call may take; ``"8ms"`` in TOML.
        max_p99: The same under the name of what it is.
        min_speedup: Least ratio of the original's median latency to the engine's.
        max_size: Bytes that the engine may have; ``"5MB"`` in TOML.
        max_memory: Bytes by which loading and calling the engine may raise the peak of a process; ``"64MiB"`` in TOML.
        max_energy: Joules that one call may take; ``"5mJ"`` in TOML.
        max_accuracy_regression: Points that may be lost against the engine of an earlier report (0.5), or the metric's
            own unit (no default).
        max_latency_regression: Percent by which it may be slower than the engine of an earlier report (10).
        require: Whether an accuracy simulated on this CPU may decide, or only one measured on the engine itself.
        confidence: Of every interval.
        inconclusive: What an interval on both sides of its limit is: ``undecided`` (exit code 13), a failure, a pass.
            What nobody measured is exit code 13 whatever this says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    preset: Literal["mlperf-99", "mlperf-99.9"] | None = None
    max_drop: Annotated[float, Field(ge=0)] | None = None
    max_drop_relative: _Percent = None
    max_class_drop: _Points = None
    max_slice_drop: _Points = None
    max_flip_rate: _Percent = None
    max_calibration_error_change: _Points = None
    max_latency: Duration | None = None
    max_p99: Duration | None = None
    min_speedup: Annotated[float, Field(gt=0)] | None = None
    max_size: Size | None = None
    max_memory: Size | None = None
    max_energy: Energy | None = None
    max_accuracy_regression: Annotated[float, Field(ge=0)] | None = None
    max_latency_regression: _Slowdown = None
    require: Literal["simulated", "measured"] = "simulated"
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="a share between 0.5 and 1: 0.95")] = CONFIDENCE
    inconclusive: Literal["fail", "undecided", "pass"] = "undecided"

    @property
    def relative_drop(self) -> float | None:
        """The share of the original's metric that may be lost, by ``max_drop_relative`` or the preset; None if any."""
        if self.max_drop_relative is not None:
            return self.max_drop_relative / 100
        return None if self.preset is None else PRESETS[self.preset] / 100

    def points_aimed_at(self, unit: Literal["fraction", "value"]) -> float | None:
        """Return the drop that a search may allow itself before any accuracy is known, as ``max_drop`` is given.

        A share of an accuracy is at most as many points as it has percent.
        """
        if self.max_drop is not None or unit == "value":
            return self.max_drop
        return DEFAULT_MAX_DROP_POINTS if self.relative_drop is None else 100 * self.relative_drop

    def refuse_impossible(self, unit: Literal["fraction", "value"], place: str) -> None:
        """Refuse points that no metric of this unit has.

        Raises:
            ConfigError: More than 100 points of a metric that is a fraction.
        """
        for key in ("max_drop", "max_accuracy_regression"):
            value = getattr(self, key)
            if unit == "fraction" and value is not None and value > 100:
                raise ConfigError(
                    f"{place}: `{key}` is {value:g} points, and the metric has 100 at most",
                    hint="give points, 0 to 100: of an accuracy of 92 %, 0.5 leaves 91.5 %",
                )

    def needs_samples(self) -> bool:
        """Return whether the summary of a report is not enough for its rules: they need every sample's outcome."""
        limits = (self.max_class_drop, self.max_slice_drop, self.max_flip_rate, self.max_calibration_error_change)
        return self.confidence != CONFIDENCE or any(limit is not None for limit in limits)


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
        key = str(wrong["loc"][0])
        flag = "--" + key.replace("_", "-")
        field = Policy.model_fields.get(key)
        hint = _FLAG_HINTS.get(flag) or (None if field is None else field.description)
        raise UsageError(f"{flag} {wrong['input']}: {wrong['msg']}", hint=hint) from error

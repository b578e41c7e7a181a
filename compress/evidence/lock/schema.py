"""What ``recipe.lock.toml`` holds, and how it is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from compress import __version__
from compress.config import explain, read_toml
from compress.data.settings import SampleSettings
from compress.errors import ConfigError
from compress.project import InputTable
from compress.report.record import Sha256
from compress.runtimes.build_settings import SizeRange
from compress.runtimes.engine_options import EngineOptions
from compress.targets import Isa

FILE_NAME: Final = "recipe.lock.toml"
SCHEMA: Final = "compress.lock/2"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LockedModel(_Table):
    """The model file.

    Attributes:
        path: Relative to the folder of the lock.
        sha256: Of the file.
        graph_sha256: Of ``model.onnx``: the graph that was taken in, with the external data of an ONNX file.
        inputs: As the user stated them; empty where the file or the samples say them.
        ranges: Sizes of dynamic axes by name.
        trust_pickle: Whether code in the file ran; a run that repeats this one must allow it again.
    """

    path: str
    sha256: Sha256
    graph_sha256: Sha256
    inputs: dict[str, InputTable] = {}
    ranges: dict[str, SizeRange] = {}
    factory: str | None = None
    trust_pickle: bool = False


class LockedData(_Table):
    """Samples.

    Attributes:
        name: As in the report.
        digest: Of all samples, labels and transforms that were used.
        spec: What names them: a recipe, a path from the model's folder, code, or a table; None where nobody gave any.
        settings: The recipe of that name as it was, defaults and seed filled in.
        slices_digest: Of the slices of evaluation samples; None where there are none.
    """

    name: str
    digest: Sha256
    samples: Annotated[int, Field(gt=0)]
    synthetic: bool
    spec: SampleSettings | str | None = None
    settings: SampleSettings | None = None
    slices_digest: Sha256 | None = None


class LockedDataTable(_Table):
    """Both sample sets, and whether small pictures of the worst mistakes are kept."""

    calibration: LockedData
    evaluation: LockedData
    pictures: bool = True


class LockedLatency(_Table):
    """How latency is measured; seconds for each target at most."""

    threads: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)]
    seconds: Annotated[float, Field(gt=0)]


class LockedDevice(_Table):
    """Where engines are measured; on how many evaluation samples where that is not here, and at which clocks."""

    name: str
    samples: Annotated[int, Field(gt=0)] | None = None
    lock_clocks: bool = False


class LockedEngine(_Table):
    """How the fastest engine was looked for, and how engines are built; the timing cache from the model's folder."""

    providers: Literal["all", "cpu"]
    seconds: Annotated[float, Field(ge=0)]
    timing_cache: str | None = None
    timing_cache_sha256: str | None = None
    dla: bool = False


class LockedMachine(_Table):
    """What the steps' sums depend on: the order of their threads."""

    threads: Annotated[int, Field(gt=0)]


class LockedTarget(_Table):
    """A target, and what the run chose for it.

    Attributes:
        spec: Its name, or the path of its file from the folder of the lock.
        sha256: Of its TOML file.
        isa: The instruction set of a CPU target; of ``cpu`` that of the device.
        attempt: Which of the recipe's attempts was kept, from 1.
        float_layers: Layers that the step ``mixed`` left in float; None where the attempt has no such step.
        graph: Which graph is the engine.
        options: How the engine is run; None for a runtime with one way only, and where there is no engine.
        graph_sha256: Of the engine's ``model.onnx``; None where there is none.
    """

    name: str
    runtime: str
    spec: str
    sha256: Sha256
    isa: Isa | None = None
    attempt: Annotated[int, Field(gt=0)]
    float_layers: tuple[str, ...] | None = None
    graph: Literal["compressed", "original"] = "compressed"
    options: EngineOptions | None = None
    graph_sha256: Sha256 | None = None


class Lock(_Table):
    """The whole file; ``recipe`` and ``gate`` are read by the modules that know them.

    Attributes:
        metric_sha256: Of the file of the metric's module; None for a metric that is no code of the project's.
    """

    schema_: Annotated[Literal["compress.lock/2"], Field(alias="schema")]
    command: str | None = None
    seed: int
    metric: str
    metric_sha256: Sha256 | None = None
    quantizer: str
    prune: str | None = None
    model: LockedModel
    data: LockedDataTable
    recipe: dict[str, JsonValue]
    gate: dict[str, JsonValue] = {}
    latency: LockedLatency
    device: LockedDevice
    engine: LockedEngine
    machine: LockedMachine
    versions: dict[str, str]
    targets: Annotated[tuple[LockedTarget, ...], Field(min_length=1)]


def read_lock(path: Path) -> Lock:
    """Return the lock in a file.

    Raises:
        ConfigError: It is no TOML, of another schema, or has a key or a value that a lock has not.
    """
    table = read_toml(path)
    found = table.get("schema")
    if found != SCHEMA:
        what = f"`{found}`" if isinstance(found, str) else "missing"
        other = isinstance(found, str) and found.startswith("compress.lock/")
        raise ConfigError(
            f"{path}: `schema` is {what}, not `{SCHEMA}`",
            hint=_say_version(table) if other else f"give the {FILE_NAME} that `compress run` wrote",
        )
    try:
        return Lock.model_validate(table)
    except ValidationError as error:
        problem = explain(error, str(path), Lock)
        same = _version(table) in (None, __version__)
        raise ConfigError(problem.message, hint=problem.hint if same else _say_version(table)) from error


def _version(table: Mapping[str, object]) -> object:
    versions = table.get("versions")
    return versions.get("edge-compress") if isinstance(versions, dict) else None


def _say_version(table: Mapping[str, object]) -> str:
    """Return what to do with a lock of another version of this package."""
    version = _version(table)
    known = isinstance(version, str) and version != __version__
    told = f"edge-compress {version}, this is {__version__}" if known else "another version of edge-compress"
    return f"it is of {told}: install that one, or `compress run` again without --locked"

"""``compress.toml`` beside the model: inputs, data, metric, gate and engine defaults. Flags win over the file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.config import explain, read_toml
from compress.data.recipes import SampleSettings
from compress.errors import ConfigError, UsageError
from compress.gate import Policy
from compress.model import BATCH, Dimension, TensorSpec
from compress.runtimes.build_settings import BuildSettings, SizeRange

FILE_NAME = "compress.toml"
_DTYPES = ("float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class InputTable(_Table):
    """One input: shape (numbers, or names of dynamic dimensions) and NumPy's name of the element type."""

    shape: tuple[Dimension, ...]
    dtype: str = "float32"


class ModelTable(_Table):
    """What the model file does not say itself; ``ranges`` are the sizes of dynamic axes by name."""

    input_tables: Annotated[dict[str, InputTable], Field(alias="inputs")] = Field(default_factory=dict)
    factory: str | None = None
    ranges: dict[str, SizeRange] = Field(default_factory=dict)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs as specifications."""
        return tuple(TensorSpec(name, table.dtype, table.shape) for name, table in self.input_tables.items())


class DataTable(_Table):
    """Where samples come from: a recipe in ``calibration/``, a path, ``python:module:callable``, or a table.

    Attributes:
        pictures: Whether small pictures of the worst mistakes are kept with the results.
    """

    calibration: SampleSettings | str | None = None
    evaluation: SampleSettings | str | None = None
    metric: str = "top1"
    pictures: bool = True


class EngineTable(_Table):
    """How engines are built, and the fastest looked for.

    Attributes:
        providers: ``all`` execution providers that are installed, or the runtime's own kernels (``cpu``) only.
        seconds: How long engines race at most, for each target, apart from opening and checking them; 0 for no contest.
        timing_cache: The timing cache that TensorRT starts from, relative to this file.
        dla: Whether a Jetson's deep learning accelerator is used, with the GPU for what it does not take.
    """

    providers: Literal["all", "cpu"] = "all"
    seconds: Annotated[float, Field(ge=0)] = 4.0
    timing_cache: Path | None = None
    dla: bool = False


class Project(_Table):
    """The whole file; ``folder`` is where it lies and where its relative paths start."""

    folder: Path
    model: ModelTable = ModelTable()
    data: DataTable = DataTable()
    gate: Policy = Policy()
    engine: EngineTable = EngineTable()

    @property
    def build(self) -> BuildSettings:
        """How engines are built."""
        cache = self.engine.timing_cache
        return BuildSettings(self.model.ranges, None if cache is None else self.folder / cache, self.engine.dla)


def load_project(model: Path) -> Project:
    """Return the project of a model: the ``compress.toml`` in its folder, or defaults where there is none.

    Raises:
        ConfigError: The file has an unknown key or a wrong value; the message names the key.
    """
    folder = model.parent
    path = folder / FILE_NAME
    if not path.is_file():
        return Project(folder=folder)
    table = read_toml(path)
    try:
        return Project.model_validate({**table, "folder": folder})
    except ValidationError as error:
        raise explain(error, str(path), Project) from error


def require_files(project: Project) -> None:
    """Raise if a file that the project names is not there.

    Raises:
        ConfigError: Names the key and the file.
    """
    cache = project.build.timing_cache
    if cache is not None and not cache.is_file():
        raise ConfigError(
            f"{project.folder / FILE_NAME}: `engine.timing_cache`: {cache} does not exist",
            hint=f"begin with an empty file: touch {cache}; what a build adds is written beside its engine",
        )


def parse_input(text: str) -> TensorSpec:
    """Return the input that a flag states: ``image=batch,3,224,224:float32`` (the type may be left out).

    Raises:
        UsageError: Not of that form.
    """
    name, _, rest = text.partition("=")
    shape, _, dtype = rest.partition(":")
    sizes = [part.strip() for part in shape.split(",")]
    dtype = dtype.strip() or "float32"
    if not name or not all(sizes) or dtype not in _DTYPES:
        hint = f"write it as image={BATCH},3,224,224:float32; types: {', '.join(_DTYPES)}"
        raise UsageError(f"--input `{text}` is not of the form name=shape:type", hint=hint)
    dims = tuple(int(size) if size.isdecimal() else size for size in sizes)
    return TensorSpec(name.strip(), dtype, dims)

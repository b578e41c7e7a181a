"""Targets: the devices that an engine is made for, one TOML file each in ``targets/``."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from compress import machine
from compress.config import explain, read_toml
from compress.errors import ConfigError, TargetError, UsageError, suggest
from compress.resources import data_folder

Precision = Literal["float32", "float16", "bfloat16", "int8", "fp8", "int4", "fp4"]
RuntimeName = Literal["onnxruntime", "onnxruntime_gpu", "tensorrt", "tensorrt_rtx", "reference", "null"]
GpuProviderName = Literal["cuda", "tensorrt", "tensorrt_rtx"]
Isa = machine.Isa
DialectName = Literal["u8s8", "u8s8-7bit", "s8s8-symmetric"]
_NEEDED: dict[RuntimeName, tuple[str, ...]] = {
    "onnxruntime": ("isa",),
    "onnxruntime_gpu": ("compute_capability", "provider"),
    "reference": (),
    "null": (),
}
_CAPABILITY = re.compile(r"\d+\.\d")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Memory(_Strict):
    """The device's memory: capacity in bytes, bandwidth in bytes per second."""

    bytes: Annotated[int, Field(gt=0)]
    bandwidth_bytes_per_second: Annotated[float, Field(gt=0)] | None = None
    source: Annotated[str, Field(min_length=8)]


class Peak(_Strict):
    """The device's dense peak rate in one precision, in operations (2 per multiply-accumulate) per second."""

    precision: Precision
    operations_per_second: Annotated[float, Field(gt=0)]
    source: Annotated[str, Field(min_length=8)]


def _read_capabilities(value: object) -> str | tuple[str, ...] | None:
    listed = (value,) if isinstance(value, str) else value
    if (
        not isinstance(listed, list | tuple)
        or not listed
        or not all(isinstance(each, str) and _CAPABILITY.fullmatch(each) for each in listed)
        or len(set(listed)) < len(listed)
    ):
        raise ValueError('it must be a compute capability as "8.6", or a list of different ones')
    return value if isinstance(value, str) else tuple(listed)


class Dla(_Strict):
    """The deep learning accelerator beside the GPU: how many cores it has."""

    cores: Annotated[int, Field(gt=0)]
    source: Annotated[str, Field(min_length=8)]


class Target(_Strict):
    """A device: what runs there, which INT8 it takes, how fast it can be at best.

    Attributes:
        isa: The instruction set of a CPU target, or ``"detect"`` for the machine that the command runs on.
        compute_capability: ``"8.7"`` for a GPU target; several for one engine that runs on each of these GPUs.
        provider: The execution provider of the runtime onnxruntime_gpu.
        board: Part of what the board's device tree calls itself; only such a board counts as this device.
        dla: The deep learning accelerator; None where the device has none.
        nearest: Compute capability (``"8.6"``) that TensorRT-RTX compiles as proof when no board is at hand.
        opset: The newest ONNX opset that the runtime on the device takes.
    """

    name: str
    description: str
    aliases: tuple[str, ...] = ()
    runtime: RuntimeName
    isa: Isa | Literal["detect"] | None = None
    compute_capability: Annotated[str | tuple[str, ...] | None, BeforeValidator(_read_capabilities)] = None
    provider: GpuProviderName | None = None
    board: Annotated[str, Field(min_length=2)] | None = None
    precisions: tuple[Precision, ...]
    sparsity: tuple[Literal["2:4"], ...] = ()
    opset: Annotated[int, Field(ge=13)] = 21
    memory: Memory | None = None
    peaks: tuple[Peak, ...] = ()
    dla: Dla | None = None
    nearest: Annotated[str, Field(pattern=r"^\d+\.\d$")] | None = None
    notes: tuple[str, ...] = ()

    @property
    def compute_capabilities(self) -> tuple[str, ...]:
        """Every compute capability that an engine is for; none for a CPU target."""
        stated = self.compute_capability
        return (stated,) if isinstance(stated, str) else (stated or ())

    @property
    def dialect(self) -> DialectName:
        """The INT8 form that is both right and fast there (DESIGN: dialects)."""
        if self.runtime in ("tensorrt", "tensorrt_rtx", "onnxruntime_gpu"):
            return "s8s8-symmetric"
        return "u8s8-7bit" if self.isa == "x86-avx2" else "u8s8"


def load_target(name: str, isa: Isa | None = None) -> Target:
    """Return the target of that name, alias or ``.toml`` file, its ``detect`` fields filled in.

    Args:
        name: A name, an alias or a path.
        isa: The instruction set that ``detect`` stands for; this machine's where None.

    Raises:
        UsageError: No such target; the hint names the nearest.
        ConfigError: The file is not a target.
        TargetError: This machine's instruction set was asked for and cannot be told.
    """
    return _detect(read_target(find_target(name)), isa)


def find_target(name: str) -> Path:
    """Return the file of the target of that name, alias or path; whether a path exists is not looked at.

    Raises:
        UsageError: No such target; the hint names the nearest.
    """
    if name.endswith(".toml"):
        return Path(name)
    for target in load_targets():
        if name == target.name or name in target.aliases:
            return data_folder("targets") / f"{target.name}.toml"
    known = [known for target in load_targets() for known in (target.name, *target.aliases)]
    raise UsageError(f"unknown target `{name}`", hint=f"{suggest(name, known)} Or give a .toml file.")


@cache
def load_targets() -> tuple[Target, ...]:
    """Return all targets of this installation, sorted by name."""
    return tuple(read_target(path) for path in sorted(data_folder("targets").glob("*.toml")))


def read_target(path: Path) -> Target:
    """Return the target that a TOML file describes.

    Raises:
        ConfigError: Not TOML, an unknown key, or a value out of range; the message names the file and the key.
    """
    try:
        target = Target.model_validate(read_toml(path))
    except ValidationError as error:
        raise explain(error, path.name, Target) from None
    if target.name != path.stem:
        raise ConfigError(
            f"{path.name}: `name`: it is {target.name!r}, but the file is called {path.name}",
            hint=f'rename the file or write name = "{path.stem}"',
        )
    for needed in _NEEDED.get(target.runtime, ("compute_capability",)):
        if getattr(target, needed) is None:
            raise ConfigError(
                f"{path.name}: `{needed}` is missing: the runtime {target.runtime} needs it",
                hint=f"add {needed} as in another file of that folder",
            )
    if len(target.compute_capabilities) > 1 and target.runtime == "tensorrt":
        raise ConfigError(
            f"{path.name}: `compute_capability`: the runtime {target.runtime} builds an engine for one GPU only",
            hint="write one target file for each GPU; TensorRT-RTX puts several into one engine",
        )
    return target


def _detect(target: Target, isa: Isa | None) -> Target:
    if target.isa != "detect":
        return target
    isa = isa or machine.detect_isa()
    if isa is None:
        known = ", ".join(t.name for t in load_targets() if t.runtime == "onnxruntime" and t.isa != "detect")
        raise TargetError(
            f"target `{target.name}`: the instruction set of this CPU ({machine.cpu_name()}) has no INT8 dialect here",
            hint=f"name the device instead: {known}",
        )
    return target.model_copy(update={"isa": isa})

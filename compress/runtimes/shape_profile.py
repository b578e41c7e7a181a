"""The range of input shapes that TensorRT compiles for: its optimization profile."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from compress.errors import ConfigError, TargetError, suggest
from compress.model import TensorSpec
from compress.runtimes.build_settings import SizeRange

MAX_BATCH: Final = 16
"""The largest batch where the project states no range; a session cuts bigger ones up."""

_BATCH = SizeRange(min=1, opt=1, max=MAX_BATCH)
_EXAMPLE = SizeRange(min=1, opt=128, max=512)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Shapes of one input: the smallest, the one that kernels are chosen for, the largest."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    def __str__(self) -> str:
        least, best, most = ("×".join(map(str, shape)) for shape in (self.min, self.opt, self.max))
        return best if least == most else f"{least} to {most}, best at {best}"


def profile_shapes(
    inputs: Sequence[TensorSpec], ranges: Mapping[str, SizeRange], *, fixed: bool = False
) -> dict[str, ShapeRange]:
    """Return the shapes of every input that has a dynamic axis, by name.

    ``ids: [batch, sequence]`` with ``sequence`` from 1 to 512, best at 128 → ``[1, 1]``, ``[1, 128]``, ``[16, 512]``.
    A dynamic first axis is the batch, 1 to ``MAX_BATCH``, unless a range is stated. ``fixed`` makes the batch 1 and all
    other axes their usual size, since the DLA takes no dynamic shapes.

    Raises:
        TargetError: A dynamic axis has no range; the hint has the lines that state one.
        ConfigError: A range is stated for an axis that is not there, or for batches without one sample.
    """
    batches = {spec.shape[0] for spec in inputs if spec.has_dynamic_batch}
    dynamic = [(spec, axis, size) for spec in inputs for axis, size in enumerate(spec.shape) if isinstance(size, str)]
    _check_names(ranges, {name for _, _, name in dynamic}, {str(name) for name in batches})
    known = {**{str(name): _BATCH for name in batches}, **ranges}
    missing = [(spec, axis, name) for spec, axis, name in dynamic if name not in known]
    if missing:
        raise _explain(missing)
    if fixed:
        usual = {name: 1 if name in batches else sizes.opt for name, sizes in known.items()}
        known = {name: SizeRange(min=size, opt=size, max=size) for name, size in usual.items()}
    return {
        spec.name: _shape_range(spec, known) for spec in inputs if any(isinstance(size, str) for size in spec.shape)
    }


def _check_names(ranges: Mapping[str, SizeRange], dynamic: set[str], batches: set[str]) -> None:
    for name, sizes in ranges.items():
        if name not in dynamic:
            hint = suggest(name, dynamic) if dynamic else "all shapes are fixed: remove that line"
            raise ConfigError(f"[model.ranges]: no input has a dynamic axis `{name}`", hint=hint)
        if name in batches and sizes.min != 1:
            raise ConfigError(
                f"[model.ranges]: `{name}` is the batch, and starts at {sizes.min}",
                hint=f"let it start at 1, which latency is measured with: {name} = [1, {sizes.opt}, {sizes.max}]",
            )


def _explain(missing: Sequence[tuple[TensorSpec, int, str]]) -> TargetError:
    axes = ", ".join(f"input `{spec.name}`: axis {axis} (`{name}`)" for spec, axis, name in missing)
    names = dict.fromkeys(name for _, _, name in missing)
    sizes = f"[{_EXAMPLE.min}, {_EXAMPLE.opt}, {_EXAMPLE.max}]"
    line = f"ranges = {{ {', '.join(f'{_key(name)} = {sizes}' for name in names)} }}"
    verb = "is" if len(missing) == 1 else "are"
    return TargetError(
        f"{axes} {verb} dynamic; TensorRT needs a range of sizes for every axis but the batch",
        hint=f"say the smallest, the usual and the largest size under [model] in compress.toml: {line}",
    )


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else f'"{name}"'


def _shape_range(spec: TensorSpec, known: Mapping[str, SizeRange]) -> ShapeRange:
    axes = [known[size] if isinstance(size, str) else SizeRange(min=size, opt=size, max=size) for size in spec.shape]
    return ShapeRange(
        tuple(axis.min for axis in axes), tuple(axis.opt for axis in axes), tuple(axis.max for axis in axes)
    )


def describe_profile(
    inputs: Sequence[TensorSpec], ranges: Mapping[str, SizeRange], *, fixed: bool = False
) -> tuple[str, ...]:
    """Return the sentence for the report about stated ranges and fixed shapes; none where there are neither."""
    shapes = profile_shapes(inputs, ranges, fixed=fixed) if ranges or fixed else {}
    if not shapes:
        return ()
    return (f"Shapes: {'; '.join(f'{name} {shape}' for name, shape in shapes.items())}.",)

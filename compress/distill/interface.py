"""Whether a student can imitate a teacher at all: both must take the same and give the same."""

from collections.abc import Mapping, Sequence

from compress.distill.tensors import Tensors
from compress.errors import ModelError
from compress.model import Model, TensorSpec

_HINT = "a student imitates outputs one by one: export it with the teacher's {what} (same names, same shapes)"


def check_same_interface(teacher: Model, student: Model) -> None:
    """Check that two models have the same inputs and outputs; a dynamic dimension fits any.

    Raises:
        ModelError: They have not; the message shows both sides of what differs.
    """
    for what, given, wanted in (
        ("inputs", student.inputs, teacher.inputs),
        ("outputs", student.outputs, teacher.outputs),
    ):
        sides = _index(given), _index(wanted)
        differing = [
            name for name in sorted({*sides[0], *sides[1]}) if not _fits(sides[0].get(name), sides[1].get(name))
        ]
        if differing:
            shown = "; ".join(_difference(name, sides[1].get(name), sides[0].get(name)) for name in differing)
            raise ModelError(f"teacher and student have different {what}: {shown}", hint=_HINT.format(what=what))


def check_same_outputs(teacher: Tensors, student: Tensors, names: Sequence[str]) -> None:
    """Check that both give tensors of these names in the same shapes.

    Raises:
        ModelError: They do not; the message shows both sides of what differs.
    """
    shapes = [{name: list(side[name].shape) for name in names if name in side} for side in (teacher, student)]
    if shapes[0] == shapes[1] and len(shapes[0]) == len(names):
        return
    differing = [name for name in names if shapes[0].get(name) != shapes[1].get(name) or name not in shapes[0]]
    shown = "; ".join(
        f"`{name}` is {shapes[0].get(name, 'absent')} in the teacher, {shapes[1].get(name, 'absent')} in the student"
        for name in differing
    )
    extra = sorted(set(student) - set(names))
    beside = f" (the student has {extra} beside)" if extra and any(name not in student for name in differing) else ""
    raise ModelError(f"teacher and student have different outputs: {shown}{beside}", hint=_HINT.format(what="outputs"))


def _index(specs: Sequence[TensorSpec]) -> Mapping[str, TensorSpec]:
    return {spec.name: spec for spec in specs}


def _fits(one: TensorSpec | None, other: TensorSpec | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or len(one.shape) != len(other.shape):
        return False
    return all(isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(one.shape, other.shape, strict=True))


def _difference(name: str, teacher: TensorSpec | None, student: TensorSpec | None) -> str:
    def show(spec: TensorSpec | None) -> str:
        return "absent" if spec is None else str(spec).removeprefix(f"{name}: ")

    return f"`{name}` is {show(teacher)} in the teacher, {show(student)} in the student"

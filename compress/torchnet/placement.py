"""Which values are shapes: computed once for each shape of the inputs, and kept where Python reads them.

A chain Shape → Gather → Concat → Reshape says at every step what it said at the step before, as long as the inputs have
the same shape. On a device, reading it there would stop the device each time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from compress.torchnet.host_reads import READ, SHAPING, together
from compress.torchnet.program import ABSENT, NEVER_FOLDED, Call

_DATA_DECIDES = frozenset(
    {
        *("Compress", "If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Unique"),
        *("ConcatFromSequence", "Optional", "OptionalGetElement", "SequenceAt", "SequenceConstruct", "SequenceEmpty"),
        *("SequenceErase", "SequenceInsert", "SplitToSequence"),
    }
)
"""Operators whose result has a shape that the values of its inputs decide, or is not one tensor."""

_LOOKED_AT = {("Shape", 0), ("Size", 0), ("CastLike", 1)}
"""Operators and positions of which they read the shape or the type, never a value."""

SMALL = 64
"""Elements up to which a constant or a shape is kept as Python numbers too."""


def shape_slots(calls: Iterable[Call], constants: set[int], given: set[int]) -> set[int]:
    """Return the slots whose values depend on constants and on the shapes of the inputs alone.

    Args:
        calls: In order.
        constants: Slots of constants.
        given: Slots of inputs and parameters.
    """
    decided, known = constants | given, set(constants)
    for call in calls:
        shaping = [call.reads[index] for index in SHAPING.get(call.op_type, ()) if index < len(call.reads)]
        sized = decided.issuperset(call.reads) and call.op_type not in _DATA_DECIDES and known.issuperset(shaping)
        if sized:
            decided.update(call.writes)
        valued = {slot for index, slot in enumerate(call.reads) if (call.op_type, index) not in _LOOKED_AT}
        if sized and known.issuperset(valued) and call.op_type not in NEVER_FOLDED:
            known.update(call.writes)
    return known - constants - {ABSENT}


def read_slots(calls: Iterable[Call], shapes: set[int]) -> set[int]:
    """Return the slots that Python reads somewhere, or from which shapes are computed."""
    found: set[int] = set()
    for call in calls:
        if shapes.intersection(call.writes):
            found.update(call.reads)
        found.update(call.reads[index] for index in READ.get(call.op_type, ()) if index < len(call.reads))
    return found


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is called when.

    Attributes:
        calls: All calls, for a shape of the inputs that is new.
        planned: The calls that are left where the shapes are known.
        shapes: Slots of shapes that ``planned`` reads.
        hosted: Slots of constants that stay on the host when the module moves to a device.
    """

    calls: tuple[Call, ...]
    planned: tuple[Call, ...]
    shapes: tuple[int, ...]
    hosted: frozenset[int]


def schedule(calls: Sequence[Call], constants: Mapping[int, int], given: set[int], outputs: Iterable[int]) -> Schedule:
    """Return when each call is needed.

    Args:
        calls: In order.
        constants: Slot of each constant and how many elements it has.
        given: Slots of inputs, parameters and statistics.
        outputs: Slots that are read in the end.
    """
    shapes = shape_slots(calls, {ABSENT, *constants}, given)
    hosted = read_slots(calls, shapes) & {slot for slot, size in constants.items() if size <= SMALL}
    on_host = shapes | hosted
    kept = tuple(
        replace(_mend(call, on_host), frees=tuple(slot for slot in call.frees if slot not in shapes)) for call in calls
    )
    planned = tuple(call for call in kept if shapes.isdisjoint(call.writes))
    needed = {slot for call in planned for slot in call.reads} | set(outputs)
    return Schedule(kept, planned, tuple(sorted(shapes & needed)), frozenset(hosted))


def _mend(call: Call, hosted: set[int]) -> Call:
    """Return a call that brings its inputs to one device, where some may be on the host that it does not read there."""
    elsewhere = (slot for index, slot in enumerate(call.reads) if index not in READ.get(call.op_type, ()))
    return replace(call, kernel=together(call.op_type, call.kernel)) if hosted.intersection(elsewhere) else call


def remember(tensor: Tensor) -> Tensor:
    """Return the tensor with its values beside it as Python numbers, where they are few (see ``reading.integers``)."""
    if tensor.numel() <= SMALL and tensor.device.type == "cpu":
        tensor.host = tuple(tensor.reshape(-1).tolist())  # type: ignore[attr-defined]
    return tensor

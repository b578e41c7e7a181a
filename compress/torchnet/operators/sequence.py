"""Sequences (Python lists of tensors) and optional values (the value, or None)."""

from typing import Any

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.elementwise import plain
from compress.torchnet.operators.reading import integers


def _construct(*tensors: Tensor) -> list[Tensor]:
    return list(tensors)


def _empty(node: Node) -> Kernel:
    node.attributes.skip("dtype")
    return list


def _at(sequence: list[Tensor], position: Tensor) -> Tensor:
    return sequence[int(position)]


def _insert(sequence: list[Tensor], tensor: Tensor, position: Tensor | None = None) -> list[Tensor]:
    longer = list(sequence)
    longer.insert(len(sequence) if position is None else int(position), tensor)
    return longer


def _erase(sequence: list[Tensor], position: Tensor | None = None) -> list[Tensor]:
    shorter = list(sequence)
    del shorter[-1 if position is None else int(position)]
    return shorter


def _length(sequence: list[Tensor]) -> Tensor:
    return torch.tensor(len(sequence), dtype=torch.int64)


def _split(node: Node) -> Kernel:
    axis, keep = node.attributes.integer("axis", 0), bool(node.attributes.integer("keepdims", 1))

    def split(x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
        if sizes is None:
            return list(torch.split(x, 1, axis) if keep else x.unbind(axis))
        return list(torch.split(x, int(sizes) if sizes.dim() == 0 else integers(sizes), axis))

    return split


def _concatenate(node: Node) -> Kernel:
    axis = node.attributes.integer("axis")
    if node.attributes.integer("new_axis", 0):
        return lambda sequence: torch.stack(sequence, axis)
    return lambda sequence: torch.cat(sequence, axis)


def _map(node: Node) -> Kernel:
    body, count = node.subgraphs["body"], len(node.present)

    def apply(first: list[Tensor], *rest: Any) -> tuple[list[Tensor], ...]:
        others, outer = rest[: count - 1], rest[count - 1 :]
        mapped = [
            body(item, *(each[index] if isinstance(each, list) else each for each in others), *outer)
            for index, item in enumerate(first)
        ]
        return tuple([values[index] for values in mapped] for index in range(len(node.outputs)))

    return apply


def _optional(node: Node) -> Kernel:
    node.attributes.skip("type")
    return lambda value=None: value


def _has_element(value: Any = None) -> Tensor:
    return torch.tensor(value is not None)


OPERATORS: dict[str, Factory] = {
    "ConcatFromSequence": _concatenate,
    "Optional": _optional,
    "OptionalGetElement": plain(lambda value: value),
    "OptionalHasElement": plain(_has_element),
    "SequenceAt": plain(_at),
    "SequenceConstruct": plain(_construct),
    "SequenceEmpty": _empty,
    "SequenceErase": plain(_erase),
    "SequenceInsert": plain(_insert),
    "SequenceLength": plain(_length),
    "SequenceMap": _map,
    "SplitToSequence": _split,
}

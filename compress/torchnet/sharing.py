"""Initializers that an exporter shares by accident, and those that are one on purpose.

Exporters store equal constants once: the gammas of two fresh normalisations are both all ones and become one
initializer. Trained, they would have to stay equal. Two matrices that are one (an embedding and the output layer of a
language model) are never all of one value, and stay one parameter.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from compress.torchnet.roles import is_vector, is_weight_position

_STATISTICS = (3, 4)
"""Input positions of BatchNormalization: running mean and variance."""


def untie(graph: ir.Graph) -> None:
    """Give each reader an initializer of its own, in place, where sharing is an accident.

    1. Weights (by role) of several elements that are all equal, read more than once.
    2. Running statistics of BatchNormalization read more than once: training updates them layer by layer.

    The first reader keeps the name, the next get it with a number. Copies of a graph get the same names.
    """
    taken = {str(value.name) for value in _values(graph)}
    for name, value in tuple(graph.initializers.items()):
        uses = [use for use in value.uses() if use.node.graph is graph and _is_accident(value, use.node, use.idx)]
        shared = len(uses) == len(tuple(value.uses()))
        for node, index in uses[1:] if shared else uses:
            own = ir.Value(
                name=_free_name(name, taken), type=value.type, shape=value.shape, const_value=value.const_value
            )
            graph.register_initializer(own)
            node.replace_input_with(index, own)


def running_statistics(graph: ir.Graph) -> set[str]:
    """Return the names of the initializers that are running means and variances."""
    return {
        str(value.name)
        for node in graph
        if node.op_type == "BatchNormalization"
        for value in (node.inputs[index] for index in _STATISTICS)
        if value is not None and value.is_initializer()
    }


def _is_accident(value: ir.Value, node: ir.Node, index: int) -> bool:
    if node.op_type == "BatchNormalization" and index in _STATISTICS:
        return True
    constant = value.const_value
    if constant is None or constant.size < 2 or not _reads_weight(value, node, index):
        return False
    array = constant.numpy()
    return bool(np.all(array == array.flat[0]))


def _reads_weight(value: ir.Value, node: ir.Node, index: int) -> bool:
    return is_weight_position(node, index) or (node.op_type in ("Add", "Mul") and is_vector(value))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from (*graph.inputs, *graph.initializers.values())
    for node in graph.all_nodes():
        yield from (value for value in (*node.inputs, *node.outputs) if value is not None)


def _free_name(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    taken.add(f"{name}_{number}")
    return f"{name}_{number}"

"""Small networks in which one known place loses accuracy in INT8."""

from typing import Literal

import numpy as np
from onnx import helper
from small_graphs import build, normal

from compress.model import Model

Fault = Literal["weight", "activation", "none"]

CHANNEL = 5
"""The channel that is at fault."""


def build_faulty(fault: Fault, batch: int | str = "batch") -> Model:
    """Return four convolutions with Relu between them: x [batch, 3, 8, 8] → y [batch, 6].

    Args:
        fault: ``weight``: ``conv1`` has a large weight for channel 5 of its input, which is always 0. ``activation``:
            the output of ``conv1`` is large and constant in channel 5, which ``conv2`` does not read.
        batch: A fixed batch size, or the name of a dynamic one.
    """
    constants = {f"w{i}": normal(8, 3 if i == 0 else 8, 3, 3, seed=i) for i in range(4)}
    constants |= {f"b{i}": 0.1 * normal(8, seed=10 + i) for i in range(4)}
    constants |= {"head": normal(6, 8, seed=20), "axes": np.array([2, 3], np.int64)}
    if fault == "weight":
        constants["w0"][CHANNEL], constants["b0"][CHANNEL] = 0, -1
        constants["w1"][:, CHANNEL] = 40
    elif fault == "activation":
        constants["w1"][CHANNEL], constants["b1"][CHANNEL] = 0, 100
        constants["w2"][:, CHANNEL] = 0
    nodes = []
    for i in range(4):
        source = "x" if i == 0 else f"r{i - 1}"
        nodes.append(helper.make_node("Conv", [source, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
    nodes.append(helper.make_node("ReduceMean", ["r3", "axes"], ["m"], "mean", keepdims=0))
    nodes.append(helper.make_node("Gemm", ["m", "head"], ["y"], "gemm", transB=1))
    return build(nodes, constants, [batch, 3, 8, 8], ["y"])

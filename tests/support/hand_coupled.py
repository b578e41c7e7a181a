"""Small graphs whose coupling is written by hand, for tests of what reads a coupling."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import helper
from small_graphs import build, normal

from compress.data.samples import SampleSet
from compress.data.synthetic import synthesize
from compress.model import Model
from compress.prune.groups import Coupling, Family, Group, Slice
from compress.prune.importance import Evidence
from compress.steps import StepContext
from compress.store import Store
from compress.targets import Target

Part = tuple[str, int, Sequence[Sequence[int]], Literal["output", "input"]]


def group(name: str, family: Family, parts: list[Part], blocks: int = 1) -> Group:
    """Return a group with slices (initializer, axis, positions of each unit, role)."""
    slices = tuple(Slice(weight, axis, np.array(positions), role) for weight, axis, positions, role in parts)
    return Group(name, family, len(slices[0].positions), blocks, slices)


def each(count: int, width: int = 1) -> list[list[int]]:
    """Return the positions of units that own ``width`` neighbouring places each."""
    return np.arange(count * width).reshape(count, width).tolist()


def perceptron() -> tuple[Model, Coupling]:
    """Return x [batch, 6] → Gemm 4 → Relu → Gemm 3 → y, and its group of 4 hidden units."""
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["y"], "second", transB=1),
    ]
    constants = {"w0": normal(4, 6, seed=1), "b0": normal(4, seed=2), "w1": normal(3, 4, seed=3), "b1": normal(3)}
    model = build(nodes, constants, ["batch", 6], ["y"])
    units = group(
        "h", "matmul", [("w0", 0, each(4), "output"), ("b0", 0, each(4), "output"), ("w1", 1, each(4), "input")]
    )
    return model, Coupling(model.digest(), (units,), ())


def convolutions() -> tuple[Model, Coupling]:
    """Return x [batch, 2, 5, 4] → Conv 6 (stride 2, pads) → Relu → Conv 3 (dilated) → Flatten → Gemm 3, and two groups.

    The second group's units own two places each of the last matrix.
    """
    nodes = [
        helper.make_node("Conv", ["x", "k0", "c0"], ["h"], "first", pads=[1, 1, 1, 1], strides=[2, 1]),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "k1"], ["g"], "second", dilations=[2, 1], pads=[0, 0, 0, 0]),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w"], ["y"], "third"),
    ]
    constants = {
        "k0": normal(6, 2, 3, 3, seed=1), "c0": normal(6, seed=2), "k1": normal(3, 6, 2, 3, seed=3),
        "w": normal(6, 3, seed=4),
    }  # fmt: skip
    model = build(nodes, constants, ["batch", 2, 5, 4], ["y"])
    first = group(
        "h", "convolution", [("k0", 0, each(6), "output"), ("c0", 0, each(6), "output"), ("k1", 1, each(6), "input")]
    )
    second = group("g", "convolution", [("k1", 0, each(3), "output"), ("w", 0, each(3, 2), "input")])
    return model, Coupling(model.digest(), (first, second), ())


def samples_of(model: Model, count: int = 24) -> SampleSet:
    """Return made-up samples of a model's inputs."""
    return synthesize(model.inputs, count, seed=2)


def evidence_of(model: Model, coupling: Coupling, **changes: Any) -> Evidence:
    """Return evidence with the model as its own teacher."""
    values: dict[str, Any] = {
        "model": model, "groups": coupling.groups, "teacher": model, "samples": samples_of(model), "count": 24,
        "seed": 0, "threads": 1, **changes,
    }  # fmt: skip
    return Evidence(**values)


def context_of(original: Model, folder: Path, samples: SampleSet | None = None, **target: Any) -> StepContext:
    """Return the context of a step on a device of the null runtime."""
    values: dict[str, Any] = {"name": "t", "description": "a target", "runtime": "null", "precisions": ("float32",)}
    device = Target.model_validate({**values, **target})
    return StepContext(device, samples or samples_of(original, 96), 1, 0, Store(folder), lambda *_: None, original)


def wide_network() -> Model:
    """Return x [batch, 3, 8, 8] → Conv 32 → Relu → Conv 48 → Relu → residual Conv 48 → mean → Gemm 10 → y."""
    nodes = [
        helper.make_node("Conv", ["x", "k0", "c0"], ["h0"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "k1", "c1"], ["h1"], "second", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["h1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "k2", "c2"], ["h2"], "third", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["h2", "r1"], ["a"], "add"),
        helper.make_node("Relu", ["a"], ["r2"], "relu2"),
        helper.make_node("ReduceMean", ["r2", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("Gemm", ["m", "w", "b"], ["y"], "head", transB=1),
    ]
    constants = {
        "k0": 2 * normal(32, 3, 3, 3, seed=1), "c0": normal(32, seed=2), "k1": 2 * normal(48, 32, 3, 3, seed=3),
        "c1": normal(48, seed=4), "k2": normal(48, 48, 3, 3, seed=5), "c2": normal(48, seed=6),
        "w": 3 * normal(10, 48, seed=7), "b": normal(10, seed=8), "axes": np.array([2, 3], np.int64),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])

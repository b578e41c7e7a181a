"""Each operator between two layers: whether what is in between lets channels go, and that the cut graph is right."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from cutting import assert_every_cut_equals_masked, described, reasons
from parsed_graphs import parse

from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling

CONVOLUTION = ("convolution", 8, 1)


def weights(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed + 1).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """Nodes from h [N, 8, 6, 6], the output of a convolution, to g [N, c, …], the input of the next.

    Attributes:
        nodes: In ONNX's text form.
        constants: What they read.
        groups: Family, units and blocks of the groups that come out, by name.
        columns: How many channels g has.
        opset: Of the graph.
        alive: Whether every channel is read by somebody.
        sizes: How many sizes of the batch the graph takes.
    """

    nodes: str
    constants: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, tuple[Any, ...]] = field(default_factory=lambda: {"h": CONVOLUTION})
    columns: int = 8
    opset: int = 20
    alive: bool = True
    sizes: int = 2


def model_of(case: Case) -> Model:
    text = f"""g (float[batch, 3, 6, 6] x) => (float[batch, 5] y) {{
        h = Conv (x, w)
        {case.nodes}
        p = GlobalAveragePool (g)
        f = Flatten (p)
        y = Gemm <transB=1> (f, v)
    }}"""
    held = {"w": weights(8, 3, 1, 1), "v": weights(5, case.columns, seed=1), **case.constants}
    return parse(text, opset=case.opset, **held)


FEEDS = [{"x": torch.randn((batch, 3, 6, 6), generator=torch.Generator().manual_seed(batch))} for batch in (2, 5)]

CASES = {
    "a broadcast number": Case("g = Mul (h, c)", {"c": np.float32(1.5)}),
    "a vector along the channels": Case("g = Add (h, c)", {"c": weights(8, 1, 1)}),
    "what is divided by": Case("g = Div (h, c)", {"c": weights(8, 1, 1)}),
    "functions that are not zero at zero": Case(
        "s = Softplus (h) e = Exp (h) d = Div (s, e) k = Sigmoid (d) g = Add (k, c)", {"c": weights(8, 1, 1)}
    ),
    "Where and Clip": Case(
        "z = Greater (h, c) q = Clip (h, low, high) g = Where (z, h, q)",
        {"c": weights(8, 1, 1), "low": np.float32(-0.5), "high": np.float32(0.5)},
    ),
    "PRelu": Case("g = PRelu (h, c)", {"c": weights(8, 1, 1)}),
    "CastLike": Case("k = CastLike (c, h) g = Mul (h, k)", {"c": weights(8, 1, 1)}),
    "BatchNormalization": Case(
        "g = BatchNormalization (h, s, b, m, d)",
        {"s": weights(8), "b": weights(8, seed=2), "m": weights(8, seed=3), "d": np.abs(weights(8, seed=4))},
    ),
    "InstanceNormalization": Case("g = InstanceNormalization (h, s, b)", {"s": weights(8), "b": weights(8, seed=2)}),
    "padding the channels": Case(
        "k = Pad (h, amounts) g = Add (k, c)",
        {"amounts": integers(0, 2, 0, 0, 0, 3, 0, 0), "c": weights(13, 1, 1)},
        {"h": CONVOLUTION, "k": ("matmul", 5, 1)},
        columns=13,
    ),
    "a slice of the channels": Case(
        "g = Slice (h, start, end, axes)",
        {"start": integers(2), "end": integers(-1), "axes": integers(1)},
        {"h": ("convolution", 3, 1), "h#2": ("convolution", 5, 1)},
        columns=5,
        alive=False,
    ),
    "a slice with steps": Case(
        "g = Slice (h, start, end, axes, steps)",
        {"start": integers(0), "end": integers(8), "axes": integers(1), "steps": integers(2)},
        {},
        columns=4,
    ),
    "channels taken in another order": Case(
        "g = Gather <axis=1> (h, order)",
        {"order": integers(7, 1, -3, 0)},
        {
            "h": ("convolution", 4, 1),
            "h#2": ("convolution", 4, 1),
        },
        columns=4,
        alive=False,
    ),
    "one channel taken": Case("k = Gather <axis=1> (h, place) g = Unsqueeze (k, place)", {"place": np.int64(1)}, {}, 1),
    "repeated channels": Case("g = Tile (h, times)", {"times": integers(1, 2, 1, 1)}, {"h": CONVOLUTION}, columns=16),
    "an uneven split, put together again": Case(
        "k, l = Split <axis=1> (h, sizes) m = Relu (l) g = Concat <axis=1> (m, k)", {"sizes": integers(3, 5)}
    ),
    "halves that are multiplied": Case(
        "k, l = Split <axis=1, num_outputs=2> (h) m = Sigmoid (l) g = Mul (k, m)", {}, {"h": ("convolution", 4, 1)}, 4
    ),
    "a constant that is expanded": Case(
        "k = Expand (c, sizes) g = Add (h, k)", {"c": weights(1, 1, 1), "sizes": integers(8, 1, 1)}
    ),
    "a constant of the tensor's own shape": Case("t = Shape (h) k = ConstantOfShape (t) o = Cos (k) g = Add (h, o)"),
    "an expansion to the tensor's own shape": Case(
        "t = Shape (h) k = Expand (c, t) g = Add (h, k)", {"c": weights(8, 1, 1)}
    ),
    "a shape with a computed batch": Case(
        "t = Shape <start=0, end=1> (x) s = Concat <axis=0> (t, r) k = Reshape (h, s) g = Unsqueeze (k, last)",
        {"r": integers(8, 36), "last": integers(3)},
    ),
    "a shape whose sizes are not pieces": Case(
        "t = Shape (h) s = Mul (t, r) k = Reshape (h, s) g = Relu (k)", {"r": integers(1, 1, 1, 1)}
    ),
    "a batch that is merged with channels": Case(
        "t = Shape <start=0, end=1> (x) e = Mul (t, c) s = Concat <axis=0> (e, r) k = Reshape (h, s) m = Relu (k)"
        " u = Concat <axis=0> (t, back) g = Reshape (m, u)",
        {"c": integers(8), "r": integers(-1, 6), "back": integers(8, 6, 6)},
    ),
    "a reshape that copies sizes": Case(
        "k = Reshape (h, s) g = Unsqueeze (k, last)", {"s": integers(0, 0, -1), "last": integers(3)}
    ),
    "resizing to sizes": Case('g = Resize <mode="nearest"> (h, , , sizes)', {"sizes": integers(2, 8, 3, 3)}, sizes=1),
    "resizing by scales": Case(
        'g = Resize <mode="linear"> (h, , scales)', {"scales": np.array([1, 1, 2, 2], np.float32)}
    ),
    "depth to space": Case(
        'k = Conv (h, u) g = DepthToSpace <blocksize=2, mode="CRD"> (k)',
        {"u": weights(12, 8, 1, 1)},
        {"h": CONVOLUTION, "k": ("convolution", 3, 1)},
        columns=3,
    ),
    "space to depth": Case("g = SpaceToDepth <blocksize=2> (h)", columns=32),
    "a mean over the channels": Case("k = ReduceMean (h, axes) g = Mul (h, k)", {"axes": integers(1)}),
    "a sum over the channels": Case("k = ReduceSum (h, axes) g = Mul (h, k)", {"axes": integers(1)}),
    "a mean over the places": Case("g = ReduceMean (h, axes)", {"axes": integers(2, 3)}),
    "extremes over the channels": Case("k = ReduceMax (h, axes) g = Mul (h, k)", {"axes": integers(1)}, {}),
    "the index of an extreme place": Case(
        "k = ArgMax <axis=2, keepdims=0> (h) l = Cast <to=1> (k) g = Unsqueeze (l, last)", {"last": integers(3)}
    ),
    "sorting along a place": Case("k, i = TopK <axis=3> (h, two) g = Relu (k)", {"two": integers(2)}),
    "a cumulative sum of channels": Case("g = CumSum (h, one)", {"one": np.int64(1)}, {}),
    "a cumulative sum of places": Case("g = CumSum (h, two)", {"two": np.int64(2)}),
    "a softmax of channels": Case("g = Softmax <axis=1> (h)", {}, {}),
    "a softmax of places": Case("g = Softmax <axis=-1> (h)"),
    "an old softmax": Case("g = Softmax <axis=2> (h)", opset=11),
    "an old softmax of everything": Case("g = Softmax (h)", {}, {}, opset=11),
    "a triangle of places": Case("g = Trilu (h)"),
    "what has no rule": Case("g = LRN <size=3> (h)", {}, {}),
    "a vector times": Case(
        "k = Transpose <perm=[0, 2, 3, 1]> (h) l = MatMul (k, u) g = Transpose <perm=[0, 3, 1, 2]> (l)",
        {"u": weights(8, 4)},
        {"h": CONVOLUTION, "l": ("matmul", 4, 1)},
        columns=4,
    ),
    "a matrix on the left": Case(
        "k = Reshape (h, s) l = MatMul (u, k) g = Unsqueeze (l, last)",
        {"s": integers(0, 8, 36), "u": weights(4, 8), "last": integers(3)},
        {"h": CONVOLUTION, "l": ("matmul", 4, 1)},
        columns=4,
    ),
    "a product with a vector": Case(
        "k = Transpose <perm=[0, 2, 3, 1]> (h) l = MatMul (k, u) m = Unsqueeze (l, one) g = Conv (m, z)",
        {"u": weights(8), "one": integers(1), "z": weights(4, 1, 1, 1)},
        {"h": CONVOLUTION, "g": ("convolution", 4, 1)},
        columns=4,
    ),
    "a product by letters": Case(
        'g = Einsum <equation="bchw,dc->bdhw"> (h, u)',
        {"u": weights(4, 8)},
        {"h": CONVOLUTION, "g": ("matmul", 4, 1)},
        columns=4,
    ),
    "a product by letters that repeat": Case(
        'k = Einsum <equation="bcxx->bcx"> (h) g = Unsqueeze (k, last)', {"last": integers(3)}, {}
    ),
    "group normalisation as one operator": Case(
        "g = GroupNormalization <num_groups=2> (h, s, b)",
        {"s": weights(8), "b": weights(8, seed=2)},
        {"h": ("convolution", 8, 2)},
        opset=21,
    ),
    "a shuffle": Case(
        "k = Reshape (h, s) l = Transpose <perm=[0, 2, 1, 3, 4]> (k) g = Reshape (l, t)",
        {"s": integers(-1, 2, 4, 6, 6), "t": integers(-1, 8, 6, 6)},
    ),
    "a shuffle with a grouped convolution after it": Case(
        "k = Reshape (h, s) l = Transpose <perm=[0, 2, 1, 3, 4]> (k) m = Reshape (l, t) g = Conv <group=2> (m, u)",
        {"s": integers(-1, 2, 4, 6, 6), "t": integers(-1, 8, 6, 6), "u": weights(6, 4, 1, 1)},
        {"h": ("convolution", 8, 2), "g": ("convolution", 6, 2)},
        columns=6,
    ),
    "two partitions of which one is finer": Case(
        "k = Conv <group=2> (h, u) l = Conv <group=4> (h, v2) g = Concat <axis=1> (k, l)",
        {"u": weights(4, 4, 1, 1), "v2": weights(8, 2, 1, 1)},
        {"h": ("convolution", 8, 4), "k": ("convolution", 4, 2), "l": ("convolution", 8, 4)},
        columns=12,
    ),
    "a grouped convolution of two layers": Case(
        "i = Conv (x, w2) k = Concat <axis=1> (h, i) g = Conv <group=2> (k, u)",
        {"w2": weights(8, 3, 1, 1, seed=3), "u": weights(6, 8, 1, 1)},
        {"h": ("convolution", 8, 1), "g": ("convolution", 6, 2)},
        columns=6,
    ),
    "a transposed depthwise convolution": Case(
        "g = ConvTranspose <group=8, strides=[2, 2]> (h, u)", {"u": weights(8, 1, 2, 2)}
    ),
    "a transposed depthwise convolution that widens": Case(
        "g = ConvTranspose <group=8> (h, u)", {"u": weights(8, 2, 1, 1)}, columns=16
    ),
    "a quantized kernel": Case(
        "u = DequantizeLinear <axis=0> (q, s, z) g = Conv (h, u)",
        {"q": weights(4, 8, 1, 1).astype(np.int8), "s": np.abs(weights(4)), "z": np.zeros(4, np.int8)},
        {"h": CONVOLUTION, "g": ("convolution", 4, 1)},
        columns=4,
    ),
    "a quantized grouped kernel": Case(
        "u = DequantizeLinear <axis=0> (q, s, z) g = Conv <group=2> (h, u)",
        {"q": (3 * weights(4, 4, 1, 1)).astype(np.int8), "s": np.abs(weights(4)), "z": np.zeros(4, np.int8)},
        {"h": ("convolution", 8, 2), "g": ("convolution", 4, 2)},
        columns=4,
    ),
    "quantized activations": Case(
        "k = QuantizeLinear (h, s, z) g = DequantizeLinear (k, s, z)", {"s": np.float32(0.1), "z": np.uint8(128)}
    ),
    "a vector of the channels divided by its length": Case("g = LpNormalization <axis=1> (h)"),
    "an old group normalisation": Case(
        "g = GroupNormalization <num_groups=2> (h, s, b)", {"s": weights(2), "b": weights(2, seed=2)}, {}, opset=18
    ),
    "an extreme of everything": Case("k = ReduceMax (h) g = Mul (h, k)", {}, {}),
    "a product by letters without a result": Case(
        'k = Einsum <equation="bchw,dc"> (h, u) g = Relu (k)', {"u": weights(4, 8)}, {}, columns=4
    ),
    "padding by reflection": Case(
        'g = Pad <mode="reflect"> (h, amounts)', {"amounts": integers(0, 2, 0, 0, 0, 3, 0, 0)}, {}, columns=13
    ),
    "a transposed grouped convolution with a kernel of several rows": Case(
        "g = ConvTranspose <group=2> (h, u)",
        {"u": weights(8, 3, 1, 1)},
        {"h": ("convolution", 8, 2), "g": ("convolution", 6, 2)},
        columns=6,
    ),
    "a computed kernel of a grouped convolution": Case(
        "k = Relu (x) m = ReduceMean (k) u = Mul (z, m) g = Conv <group=2> (h, u)", {"z": weights(4, 4, 1, 1)}, {}, 4
    ),
    "a kernel with scales of columns": Case(
        "u = DequantizeLinear <axis=1> (q, s, z) g = Conv <group=2> (h, u)",
        {"q": (3 * weights(4, 4, 1, 1)).astype(np.int8), "s": np.abs(weights(4)), "z": np.zeros(4, np.int8)},
        {},
        columns=4,
    ),
    "scales of blocks": Case(
        "u = DequantizeLinear <axis=1, block_size=4> (q, s) g = Conv (h, u)",
        {"q": (3 * weights(4, 8, 1, 1)).astype(np.int8), "s": np.abs(weights(4, 2, 1, 1))},
        {},
        columns=4,
        opset=21,
    ),
    "a branch that reads it": Case(
        "c = Constant <value = bool {1}> ()"
        " g = If (c) <then_branch = t () => (t_out) { t_out = Relu (h) },"
        " else_branch = e () => (e_out) { e_out = Neg (h) }>",
        {},
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_cut_through_an_operator_equals_the_masked_graph(name: str) -> None:
    case = CASES[name]
    coupling = assert_every_cut_equals_masked(model_of(case), FEEDS[: case.sizes], alive=case.alive)
    assert described(coupling) == case.groups


def coupling_of(name: str) -> Coupling:
    return analyse(model_of(CASES[name]))


def test_reasons_name_the_operator() -> None:
    assert reasons(coupling_of("what has no rule"))["w", 0] == "operator LRN has no rule"
    assert reasons(coupling_of("a softmax of channels"))["w", 0] == "operator Softmax needs it whole"
    assert reasons(coupling_of("a branch that reads it"))["w", 0] == "is read inside operator If"
    assert reasons(coupling_of("a product by letters that repeat"))["w", 0] == (
        "operator Einsum is used in a way that has no rule"
    )


def test_inputs_and_outputs_are_protected() -> None:
    assert reasons(coupling_of("a broadcast number")) == {
        ("w", 1): "is the model's input",
        ("v", 0): "is the model's output",
    }


def test_sums_and_means_over_units_are_said() -> None:
    names = ("a mean over the channels", "a sum over the channels", "group normalisation as one operator")
    assert [coupling_of(name).groups[0].normalized for name in names] == [True, True, True]
    assert not coupling_of("a mean over the places").groups[0].normalized


def test_kernels_make_units_in_rows_and_read_them_in_columns() -> None:
    group = coupling_of("a vector times").groups[0]
    assert [(part.initializer, part.axis, part.width, part.role) for part in group.slices] == [
        ("w", 0, 1, "output"),
        ("u", 0, 1, "input"),
    ]


def test_a_quantized_kernel_and_its_scales_are_cut_together() -> None:
    group = coupling_of("a quantized kernel").groups[1]
    assert [(part.initializer, part.role) for part in group.slices] == [
        *(("v", "input"), ("q", "output")),
        *(("s", "output"), ("z", "output")),
    ]


def test_operators_of_old_versions_hold_sizes_in_attributes() -> None:
    text = """g (float[batch, 3, 6, 6] x) => (float[batch, 5] y) {
        h = Conv (x, w) a = Slice <starts=[0], ends=[6], axes=[1]> (h) b = Slice <starts=[6], ends=[8], axes=[1]> (h)
        c, d = Split <axis=1, split=[2, 4]> (a) e = Relu (c) f = Concat <axis=1> (d, b, e)
        i = Pad <pads=[0, 1, 0, 0, 0, 2, 0, 0]> (f) j = Add (i, t) p = ReduceMean <axes=[2, 3], keepdims=0> (j)
        y = Gemm <transB=1> (p, v, u) }"""
    held = {"w": weights(8, 3, 1, 1), "t": weights(11, 1, 1), "v": weights(5, 11), "u": weights(5)}
    coupling = assert_every_cut_equals_masked(parse(text, opset=9, **held), FEEDS)
    assert described(coupling) == {"h": CONVOLUTION, "i": ("matmul", 3, 1)}


def test_sizes_that_an_input_holds_keep_channels_whole() -> None:
    text = """g (float[batch, 3, 6, 6] x, int64[batch] n) => (float[batch, 5] y) {
        h = Conv (x, w) l = Reshape (h, flat) m = ReduceMax <keepdims=1> (n) r = Mul (m, eight)
        s = Concat <axis=0> (a, r, a) k = Reshape (l, s) p = ReduceMean <keepdims=0> (k, two) y = MatMul (p, v) }"""
    held: dict[str, Any] = {"w": weights(8, 3, 1, 1), "v": weights(8, 5), "flat": integers(0, 8, 36)}
    held |= {"a": integers(0), "eight": integers(8), "two": integers(2)}
    coupling = analyse(parse(text, opset=20, **held))
    assert coupling.groups == ()
    assert reasons(coupling)["w", 0] == "operator Reshape is used in a way that has no rule"

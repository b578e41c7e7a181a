"""Operators that move, pick and place elements, beside NumPy, with shapes that change from call to call."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from single_operator import Array, kernel_of, run_kernel, run_onnxruntime

from compress.torchnet.operators import OperatorError

moderate = settings(deadline=None, max_examples=60, derandomize=True)

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def _array(shape: tuple[int, ...]) -> Array:
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)


def _ints(*values: int) -> Array:
    return np.array(values, np.int64)


@moderate
@given(shape=SHAPES, data=st.data())
def test_slice_equals_numpy_for_any_start_end_and_step(shape: tuple[int, ...], data: st.DataObject) -> None:
    bound = st.integers(-8, 8) | st.sampled_from((-(2**63), 2**63 - 1))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    start, end = data.draw(bound), data.draw(bound)
    step = data.draw(st.sampled_from((-3, -2, -1, 1, 2, 3)))
    index = [slice(None)] * len(shape)
    index[axis] = slice(start, end, step)

    (ours,) = run_kernel("Slice", _array(shape), *(_ints(each) for each in (start, end, axis, step)))

    np.testing.assert_array_equal(ours, _array(shape)[tuple(index)])


@moderate
@given(shape=SHAPES, data=st.data())
def test_gather_equals_numpy_for_any_indices(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.sampled_from(((), (0,), (3,), (2, 2))))
    size = shape[axis]
    values = data.draw(st.lists(st.integers(-size, size - 1), min_size=4, max_size=4))
    indices = np.array(values[: int(np.prod(count))], np.int64).reshape(count)

    (ours,) = run_kernel("Gather", _array(shape), indices, axis=axis)

    np.testing.assert_array_equal(ours, np.take(_array(shape), indices, axis))


@moderate
@given(
    shape=st.lists(st.integers(2, 4), min_size=1, max_size=4).map(tuple),
    mode=st.sampled_from(("constant", "reflect", "edge", "wrap")),
    data=st.data(),
)
def test_pad_equals_numpy_in_every_mode(shape: tuple[int, ...], mode: Any, data: st.DataObject) -> None:
    ends = [data.draw(st.tuples(st.integers(0, size + 2), st.integers(0, size + 2))) for size in shape]
    pads = _ints(*(before for before, _ in ends), *(after for _, after in ends))
    more: dict[str, Any] = {"constant_values": 7.0} if mode == "constant" else {}

    (ours,) = run_kernel("Pad", _array(shape), pads, np.array(7.0, np.float32), mode=mode)

    np.testing.assert_array_equal(ours, np.pad(_array(shape), ends, mode, **more))


@moderate
@given(shape=SHAPES, data=st.data())
def test_a_negative_pad_crops(shape: tuple[int, ...], data: st.DataObject) -> None:
    before, after = data.draw(st.integers(0, shape[0] - 1)), 0
    expected = _array(shape)[before : shape[0] - after]

    for mode in ("constant", "edge"):
        (ours,) = run_kernel("Pad", _array(shape), _ints(-before, -after), None, _ints(0), mode=mode)
        np.testing.assert_array_equal(ours, expected)


@moderate
@given(shape=SHAPES, data=st.data())
def test_expand_equals_numpy_broadcasting_both_ways(shape: tuple[int, ...], data: st.DataObject) -> None:
    ones = tuple(1 if data.draw(st.booleans()) else size for size in shape)
    target = (2, *(1 if data.draw(st.booleans()) else size for size in shape))

    (ours,) = run_kernel("Expand", _array(ones), _ints(*target))

    np.testing.assert_array_equal(ours, np.broadcast_to(_array(ones), np.broadcast_shapes(ones, target)))


@moderate
@given(shape=SHAPES, data=st.data())
def test_a_split_concatenates_to_what_it_was(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.integers(1, 4))

    parts = run_kernel("Split", _array(shape), outputs=count, axis=axis, num_outputs=count)
    (joined,) = run_kernel("Concat", *parts, axis=axis)

    assert [part.shape[axis] for part in parts] == sorted((part.shape[axis] for part in parts), reverse=True)
    np.testing.assert_array_equal(joined, _array(shape))


@moderate
@given(shape=SHAPES, data=st.data())
def test_unsqueeze_then_squeeze_is_nothing(shape: tuple[int, ...], data: st.DataObject) -> None:
    rank = len(shape) + 2
    axes = data.draw(st.lists(st.integers(-rank, rank - 1), min_size=2, max_size=2, unique_by=lambda a: a % rank))

    (longer,) = run_kernel("Unsqueeze", _array(shape), _ints(*axes))
    (back,) = run_kernel("Squeeze", longer, _ints(*axes))

    np.testing.assert_array_equal(longer, np.expand_dims(_array(shape), tuple(axes)))
    np.testing.assert_array_equal(back, _array(shape))


@moderate
@given(size=st.integers(1, 4), channels=st.integers(1, 3), block=st.integers(1, 3))
def test_space_to_depth_then_depth_to_space_is_nothing(size: int, channels: int, block: int) -> None:
    image = _array((2, channels, size * block, 2 * block))
    (deep,) = run_kernel("SpaceToDepth", image, blocksize=block)
    (back,) = run_kernel("DepthToSpace", deep, blocksize=block)

    np.testing.assert_array_equal(back, image)


@moderate
@given(shape=SHAPES, data=st.data())
def test_scattering_equals_onnx_runtime(shape: tuple[int, ...], data: st.DataObject) -> None:
    rng = np.random.default_rng(len(shape))
    depth = data.draw(st.integers(1, len(shape)))
    reduction = data.draw(st.sampled_from(("none", "add", "mul", "max", "min")))
    # Without a reduction two updates of one place are not defined.
    rows = np.unique(np.stack([rng.integers(0, size, 3) for size in shape[:depth]], 1), axis=0)
    updates = rng.standard_normal((len(rows), *shape[depth:])).astype(np.float32)
    inputs = (_array(shape), rows, updates)

    (ours,) = run_kernel("ScatterND", *inputs, reduction=reduction)

    (theirs,) = run_onnxruntime("ScatterND", *inputs, opset=18, reduction=reduction)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@moderate
@given(shape=SHAPES, data=st.data())
def test_top_k_takes_the_first_of_equal_values(shape: tuple[int, ...], data: st.DataObject) -> None:
    x = np.random.default_rng(sum(shape)).integers(0, 3, shape).astype(np.float32)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k, largest = _ints(data.draw(st.integers(1, shape[axis]))), data.draw(st.sampled_from((0, 1)))

    ours = run_kernel("TopK", x, k, outputs=2, axis=axis, largest=largest)

    theirs = run_onnxruntime("TopK", x, k, outputs=2, axis=axis, largest=largest)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
}


@moderate
@given(shape=SHAPES, name=st.sampled_from(sorted(REDUCTIONS)), keep=st.booleans(), data=st.data())
def test_a_reduction_equals_numpy_over_any_axes(
    shape: tuple[int, ...], name: str, keep: bool, data: st.DataObject
) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), max_size=len(shape), unique=True))
    x = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float64)

    (ours,) = run_kernel(name, x, _ints(*axes), keepdims=int(keep))

    np.testing.assert_allclose(
        ours, REDUCTIONS[name](x, axis=tuple(axes) or None, keepdims=keep), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(("name", "expected"), [("ReduceMean", 3), ("ReduceL2", 7), ("ReduceL1", 13)])
def test_a_reduction_of_integers_stays_an_integer(name: str, expected: int) -> None:
    (result,) = run_kernel(name, np.array([3, 0, 4, 6], np.int32), _ints(0), keepdims=0)

    assert result.dtype == np.int32
    assert result == expected


def test_without_axes_a_reduction_may_do_nothing_but_its_own_arithmetic() -> None:
    (result,) = run_kernel("ReduceSumSquare", np.array([[1.0, -2.0]]), None, noop_with_empty_axes=1)

    np.testing.assert_array_equal(result, [[1.0, 4.0]])


def test_old_reductions_have_their_axes_as_an_attribute() -> None:
    (result,) = run_kernel("ReduceMean", _array((2, 3)), axes=[1], keepdims=0, opset=13)

    np.testing.assert_array_equal(result, [1.0, 4.0])


def test_unique_values_keep_the_order_of_their_first_appearance_when_not_sorted() -> None:
    values, first, inverse, counts = run_kernel("Unique", np.array([2.0, 1.0, 2.0, 0.0]), outputs=4, sorted=0)

    np.testing.assert_array_equal(values, [2.0, 1.0, 0.0])
    np.testing.assert_array_equal(first, [0, 1, 3])
    np.testing.assert_array_equal(inverse, [0, 1, 0, 2])
    np.testing.assert_array_equal(counts, [2, 1, 1])


def test_reshape_copies_zeros_and_infers_one_size_at_every_call() -> None:
    kernel = kernel_of("Reshape", inputs=2)
    shape = torch.tensor([0, -1])

    assert kernel(torch.zeros(2, 3, 4), shape).shape == (2, 12)
    assert kernel(torch.zeros(5, 2, 2), shape).shape == (5, 4)
    assert kernel_of("Reshape", inputs=2, allowzero=1)(torch.zeros(0, 3), torch.tensor([3, 0])).shape == (3, 0)


def test_the_shape_is_an_integer_tensor_of_the_host() -> None:
    kernel = kernel_of("Shape", start=1, end=-1)

    assert kernel(torch.zeros(2, 3, 4, 5)).tolist() == [3, 4]
    assert kernel(torch.zeros(2, 3)).tolist() == []


@pytest.mark.parametrize("batch_axis", [0, 1])
def test_each_sequence_is_reversed_up_to_its_length(batch_axis: int) -> None:
    x = _array((3, 3, 2))
    lengths = _ints(1, 3, 2)
    (ours,) = run_kernel("ReverseSequence", x, lengths, batch_axis=batch_axis, time_axis=1 - batch_axis)

    for row, length in enumerate(lengths):
        before, after = np.take(x, row, batch_axis), np.take(ours, row, batch_axis)
        np.testing.assert_array_equal(after, np.concatenate([before[:length][::-1], before[length:]]))


def test_old_forms_of_squeeze_unsqueeze_split_and_pad_have_attributes() -> None:
    (longer,) = run_kernel("Unsqueeze", _array((2,)), axes=[0], opset=11)
    (back,) = run_kernel("Squeeze", longer, axes=[0], opset=11)
    parts = run_kernel("Split", _array((3,)), outputs=2, split=[1, 2], opset=11)
    (padded,) = run_kernel("Pad", _array((2,)), pads=[1, 0], value=5.0, opset=2)

    assert longer.shape == (1, 2)
    assert back.shape == (2,)
    assert [part.tolist() for part in parts] == [[0.0], [1.0, 2.0]]
    assert padded.tolist() == [5.0, 0.0, 1.0]


def test_an_unknown_pad_mode_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match="Pad `pad` has the mode `mirror`"):
        kernel_of("Pad", inputs=2, mode="mirror")


def test_an_unknown_reduction_of_a_scatter_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match="ScatterND `scatternd` has the reduction `mean`"):
        kernel_of("ScatterND", inputs=3, reduction="mean")

"""Gradients of single operators equal finite differences, in double precision."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from single_operator import kernel_of
from torch import Tensor


def _values(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Return values in shuffled even steps: no two are equal, none is 0, and order is not by position."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    steps = torch.linspace(low, high, 2 * ((count + 1) // 2) + 1, dtype=torch.float64)
    return (steps[:count] + (steps[1] - steps[0]) / 3)[order].reshape(shape).requires_grad_()


def _ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


@dataclass(frozen=True)
class Case:
    """A node: operator, inputs (those that are floating are differentiated), attributes."""

    op_type: str
    inputs: tuple[Tensor | None, ...]
    outputs: int = 1
    opset: int = 20
    attributes: dict[str, Any] = field(default_factory=dict)


def _unary(op_type: str, low: float = -1.0, high: float = 1.0, **attributes: Any) -> Case:
    return Case(op_type, (_values(3, 4, low=low, high=high),), attributes=attributes)


def _binary(op_type: str, low: float = -1.0) -> Case:
    return Case(op_type, (_values(3, 4), _values(4, low=low)))


UNARY = [
    *(_unary(name) for name in ("Abs", "Acos", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Erf", "Exp", "Neg")),
    *(_unary(name) for name in ("Identity", "Sigmoid", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh", "Relu")),
    *(_unary(name, low=0.5, high=2.0) for name in ("Log", "Sqrt", "Reciprocal")),
    _unary("Acosh", low=1.5, high=3.0),
    *(_unary(name, low=-4.0, high=4.0) for name in ("HardSwish", "HardSigmoid", "Mish", "Swish", "Selu", "Softmax")),
    _unary("Celu", alpha=0.7),
    _unary("Elu", alpha=0.7),
    _unary("Gelu"),
    _unary("Gelu", approximate="tanh"),
    _unary("HardSigmoid", low=-3.5, high=3.5, alpha=1 / 6),
    _unary("LeakyRelu", alpha=0.3),
    _unary("LogSoftmax", axis=0),
    _unary("Shrink", lambd=0.3, bias=0.1),
    _unary("Swish", alpha=1.5),
    _unary("ThresholdedRelu", alpha=0.3),
    Case("Softmax", (_values(2, 3, 2),), opset=11, attributes={"axis": 1}),
    Case("Dropout", (_values(3, 4),)),
]

BINARY = [
    *(_binary(name) for name in ("Add", "Max", "Min", "Mul", "Sub", "PRelu")),
    _binary("Div", low=0.5),
    Case("Pow", (_values(3, 4, low=0.5), _values(4))),
    Case("Pow", (_values(3, 4), torch.tensor(3.0, dtype=torch.float64))),
    Case("Mod", (_values(3, 4), torch.tensor(0.7, dtype=torch.float64)), attributes={"fmod": 1}),
    Case("PRelu", (_values(2, 3, 2, 2), _values(3, 1, 1))),
    Case("Sum", (_values(3, 4), _values(4), _values(3, 1))),
    Case("Mean", (_values(3, 4), _values(4))),
    Case("Clip", (_values(3, 4), torch.tensor(-0.4, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64))),
    Case("Clip", (_values(3, 4), _values(1).detach().sub(0.5).reshape(()).requires_grad_(), None)),
    Case("Where", (torch.tensor([True, False, True, False]), _values(3, 4), _values(3, 1))),
    Case("Einsum", (_values(2, 3), _values(3, 4)), attributes={"equation": "ij,jk->ik"}),
    Case("Det", (_values(2, 3, 3),)),
]

SHAPE = [
    Case("CenterCropPad", (_values(3, 4), _ints(5, 2))),
    Case("Compress", (_values(3, 4), torch.tensor([True, False, True])), attributes={"axis": 0}),
    Case("Concat", (_values(3, 4), _values(2, 4)), attributes={"axis": 0}),
    Case("DepthToSpace", (_values(1, 8, 2, 2),), attributes={"blocksize": 2}),
    Case("Expand", (_values(3, 1), _ints(2, 1, 4))),
    Case("Flatten", (_values(2, 3, 2),), attributes={"axis": 2}),
    Case("Gather", (_values(5, 3), torch.tensor([[0, -1], [2, 2]]))),
    Case("Gather", (_values(3, 4), _ints(1, 1)), attributes={"axis": 1}),
    Case("Gather", (_values(3, 4), torch.tensor(1)), attributes={"axis": -1}),
    Case("GatherElements", (_values(3, 3), torch.tensor([[0, -1, 1]])), attributes={"axis": 0}),
    Case("GatherND", (_values(2, 3, 4), torch.tensor([[[1]], [[2]]])), attributes={"batch_dims": 1}),
    Case("OneHot", (_ints(0, 2), torch.tensor(3), _values(2))),
    Case("Pad", (_values(3, 4), _ints(1, 0, 0, 2))),
    *(
        Case("Pad", (_values(3, 4), _ints(1, 2, 2, -1)), attributes={"mode": mode})
        for mode in ("reflect", "edge", "wrap")
    ),
    Case("Reshape", (_values(3, 4), _ints(2, -1))),
    Case("ReverseSequence", (_values(4, 2), _ints(3, 4))),
    Case("ScatterElements", (_values(3, 3), torch.tensor([[0, -1, 1]]), _values(1, 3, high=2.0))),
    *(
        Case(
            "ScatterElements",
            (_values(3, 3), torch.tensor([[0, 2, 1]]), _values(1, 3, low=0.1, high=2.0)),
            attributes={"reduction": reduction},
        )
        for reduction in ("add", "mul", "max", "min")
    ),
    *(
        Case(
            "ScatterND",
            (_values(4, 3), torch.tensor([[1], [-1]]), _values(2, 3, low=0.1, high=2.0)),
            attributes={"reduction": reduction},
        )
        for reduction in ("none", "add", "mul", "max", "min")
    ),
    Case("Slice", (_values(5, 4), _ints(4, 0), _ints(-6, 3), _ints(0, 1), _ints(-2, 2))),
    Case("SpaceToDepth", (_values(1, 2, 4, 4),), attributes={"blocksize": 2}),
    Case("Split", (_values(5, 2),), outputs=2, attributes={"num_outputs": 2}),
    Case("Squeeze", (_values(1, 3, 1), _ints(0))),
    Case("Tile", (_values(2, 3), _ints(2, 2))),
    Case("Transpose", (_values(2, 3, 4),), attributes={"perm": [1, 2, 0]}),
    Case("Trilu", (_values(3, 4), torch.tensor(1)), attributes={"upper": 0}),
    Case("Unsqueeze", (_values(3, 4), _ints(0, -1))),
]

REDUCTION = [
    *(
        Case(f"Reduce{name}", (_values(2, 3, 4, low=0.2, high=2.0), _ints(0, 2)), attributes={"keepdims": keep})
        for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
        for keep in (0, 1)
    ),
    Case("CumSum", (_values(3, 4), torch.tensor(1)), attributes={"exclusive": 1, "reverse": 1}),
    Case("TopK", (_values(3, 4), _ints(2)), outputs=1),
]

IMAGE = [
    *(
        Case(
            "Resize",
            (_values(1, 2, 4, 4), None, None, _ints(1, 2, 3, 7)),
            attributes={"mode": mode, "coordinate_transformation_mode": coordinates, **more},
        )
        for mode in ("nearest", "linear", "cubic")
        for coordinates, more in (
            ("half_pixel", {}),
            ("align_corners", {}),
            ("asymmetric", {"exclude_outside": 1} if mode == "cubic" else {}),
            ("half_pixel_symmetric", {} if mode == "nearest" else {"antialias": 1}),
        )
    ),
    Case("GridSample", (_values(1, 2, 4, 4), _values(1, 3, 3, 2)), attributes={"mode": "linear"}),
    Case("AffineGrid", (_values(2, 2, 3), _ints(2, 3, 4, 5))),
    Case("Col2Im", (_values(1, 4, 9), _ints(4, 4), _ints(2, 2))),
    Case(
        "RoiAlign",
        (_values(1, 2, 5, 5), torch.tensor([[0.0, 0.5, 3.0, 4.0]], dtype=torch.float64), _ints(0)),
        attributes={"output_height": 2, "output_width": 2},
    ),
]

SIGNAL = [
    Case("DFT", (_values(1, 5, 1),), attributes={"onesided": 1}),
    Case("DFT", (_values(1, 5, 2),), attributes={"inverse": 1}),
    Case("STFT", (_values(1, 8, 1), torch.tensor(2), _values(4), torch.tensor(4))),
]

RECURRENT = [
    Case("RNN", (_values(3, 2, 2), _values(1, 3, 2), _values(1, 3, 3), _values(1, 6)), 2),
    Case("RNN", (_values(3, 2, 2), _values(1, 3, 2), _values(1, 3, 3), None, torch.tensor([3, 1])), 2),
    *(
        Case(
            "GRU",
            (_values(3, 2, 2), _values(2, 9, 2), _values(2, 9, 3), _values(2, 18)),
            2,
            attributes={"direction": "bidirectional", "linear_before_reset": late},
        )
        for late in (0, 1)
    ),
    Case(
        "LSTM",
        (
            *(_values(3, 2, 2), _values(1, 12, 2), _values(1, 12, 3), _values(1, 24), None),
            *(_values(1, 2, 3), _values(1, 2, 3, high=0.9), _values(1, 9)),
        ),
        3,
        attributes={"direction": "reverse"},
    ),
    Case("LSTM", (_values(2, 3, 2), _values(1, 12, 2), _values(1, 12, 3), _values(1, 24)), 3, attributes={"layout": 1}),
]

LOSS = [
    Case("NegativeLogLikelihoodLoss", (_values(3, 4), _ints(0, 3, 1), _values(4, low=0.5).detach())),
    Case("SoftmaxCrossEntropyLoss", (_values(3, 4), _ints(0, 3, 1)), 2, attributes={"ignore_index": 3}),
]

CASES = [*UNARY, *BINARY, *SHAPE, *REDUCTION, *IMAGE, *SIGNAL, *RECURRENT, *LOSS]


def _name(case: Case) -> str:
    return "-".join([case.op_type, *(f"{key}={value}" for key, value in case.attributes.items())])


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_the_gradient_of_an_operator_equals_finite_differences(case: Case) -> None:
    kernel = kernel_of(case.op_type, inputs=len(case.inputs), outputs=case.outputs, opset=case.opset, **case.attributes)
    trained = {index: value for index, value in enumerate(case.inputs) if value is not None and value.requires_grad}

    assert trained
    assert torch.autograd.gradcheck(_as_function(kernel, case, list(trained)), list(trained.values()))


def _as_function(kernel: Callable[..., Any], case: Case, places: list[int]) -> Callable[..., Any]:
    def function(*values: Tensor) -> Any:
        inputs = list(case.inputs)
        for index, value in zip(places, values, strict=True):
            inputs[index] = value
        results = kernel(*inputs)
        return results[: case.outputs] if isinstance(results, tuple) else results

    return function

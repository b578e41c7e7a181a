"""The node tests that the ``onnx`` package ships, as far as they concern what torchnet promises."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, TypeProto, checker, defs, helper, numpy_helper, shape_inference
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from compress.model import Model
from compress.torchnet.constants import to_tensor
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.operators import operator_key, operators

Runs = Callable[[onnx.ModelProto, Sequence[Any]], Sequence[Any]]
"""Takes a model and tensors in the order of its inputs; returns tensors in the order of its outputs."""

NEWEST = 23
"""The newest opset that torchnet promises."""

TYPES: frozenset[int] = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.BOOL),
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8),
    }
)
"""Element types that networks compute with; not strings, complex, float8, below 8 bit, 16 to 64 bit without sign."""

QUANTIZED: frozenset[int] = TYPES | {TensorProto.UINT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2}
"""Element types that quantization stores besides."""

ULPS: dict[str, float] = {"float16": 2**-9}
"""Least relative tolerance by type: two units in the last place, which ``onnx`` itself grants bfloat16 only."""


def selected_cases() -> dict[str, TestCase]:
    """Return the cases by name that use nothing but implemented operators."""
    return cases_of(frozenset(implemented_operators()))


@cache
def cases_of(known: frozenset[str]) -> dict[str, TestCase]:
    """Return the cases by name that use nothing but known operators, promised types and promised opsets.

    A case of a later opset is taken too where it is valid in the newest one: many operators have got nothing but more
    element types since, and ``onnx`` states each case in the latest version of its operator only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow and divide by zero on purpose
        state = np.random.get_state()  # noqa: NPY002 - what the cases draw from
        np.random.seed(0)  # noqa: NPY002
        cases = load_model_tests(kind="node")
        np.random.set_state(state)  # noqa: NPY002
    chosen: dict[str, TestCase] = {}
    for case in cases:
        assert case.model is not None
        names = _operators(case.model.graph.node)
        types = QUANTIZED if names & {"QuantizeLinear", "DequantizeLinear"} else TYPES
        if names <= known and _types(case.model) <= types:
            model = _in_promised_opset(case.model)
            if model is not None:
                chosen[case.name] = replace(case, model=model)
    return chosen


def implemented_operators() -> set[str]:
    """Return the names of ONNX's own operators up to the newest opset that torchnet runs; Constant needs no kernel."""
    return {name for name in operators() if name in promised_operators()} | {"Constant"}


@cache
def promised_operators() -> frozenset[str]:
    """Return the names of ONNX's own operators up to the newest opset."""
    schemas = defs.get_all_schemas_with_history()
    return frozenset(each.name for each in schemas if each.domain == "" and each.since_version <= NEWEST)


def run_case(case: TestCase, run: Runs | None = None) -> None:
    """Run a case and compare its outputs with the expected ones, in the tolerance that ``onnx`` states.

    Raises:
        AssertionError: They differ.
    """
    assert case.model is not None
    assert case.data_sets is not None
    for inputs, expected in case.data_sets:
        torch.manual_seed(0)
        with torch.no_grad():
            outputs = (run or _run_graph_net)(case.model, [_to_torch(value) for value in inputs])
        wanted, got = [_to_array(value) for value in expected], [_to_numpy(value) for value in outputs]
        tolerance = max([case.rtol, *(ULPS[value.dtype.name] for value in wanted if _is_narrow(value))])
        for one_wanted, one_got in zip(wanted, got, strict=True):
            if isinstance(one_wanted, Sequence):
                Runner.assert_similar_outputs(one_wanted, one_got, tolerance, case.atol)
            else:
                Runner.assert_similar_outputs([one_wanted], [one_got], tolerance, case.atol)


def _run_graph_net(model: onnx.ModelProto, inputs: Sequence[Any]) -> list[Any]:
    net = GraphNet(Model.from_ir(ir.from_proto(model)))
    outputs = net(dict(zip(net.inputs, inputs, strict=True)))
    return [outputs[name] for name in net.outputs]


def case_operators(case: TestCase) -> set[str]:
    """Return the operators of a case, by the names of :func:`implemented_operators`."""
    assert case.model is not None
    return _operators(case.model.graph.node)


def _operators(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        found.add(operator_key(node.domain, node.op_type))
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _operators(attribute.g.node)
    return found


def _types(model: onnx.ModelProto) -> set[int]:
    return {_element_type(value.type) for value in (*model.graph.input, *model.graph.output)}


def _element_type(kind: TypeProto) -> int:
    if kind.HasField("sequence_type"):
        return _element_type(kind.sequence_type.elem_type)
    if kind.HasField("optional_type"):
        return _element_type(kind.optional_type.elem_type)
    return kind.tensor_type.elem_type


def _in_promised_opset(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a model that says at most the newest promised opset, or None where it is not valid in it."""
    stated = [opset for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    if not stated or stated[0].version <= NEWEST:
        return model
    older = onnx.ModelProto()
    older.CopyFrom(model)
    for opset in older.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = NEWEST
    try:
        checker.check_model(older, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError):
        return None
    return older


def _is_narrow(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.name in ULPS


def _to_array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _to_torch(value: Any) -> Any:
    array = _to_array(value)
    if array is None:
        return None
    if isinstance(array, Sequence):
        return [_to_torch(item) for item in array]
    return to_tensor(ir.Tensor(np.asarray(array)))


def _to_numpy(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Sequence):
        return [_to_numpy(item) for item in value]
    carrier = _CARRIERS.get(value.dtype)
    return value.numpy() if carrier is None else value.view(carrier[0]).numpy().view(carrier[1])


_CARRIERS: dict[torch.dtype, tuple[torch.dtype, Any]] = {
    torch.bfloat16: (torch.int16, helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)),
    torch.float8_e4m3fn: (torch.uint8, helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)),
    torch.float8_e5m2: (torch.uint8, helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E5M2)),
}
"""What NumPy sees of types that it does not have: the bits, under the name that ONNX gives them."""

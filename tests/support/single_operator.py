"""One operator at a time: its kernel, and what ONNX Runtime makes of the same node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx import helper
from torch import Tensor

from compress.torchnet.attributes import Attributes
from compress.torchnet.operators import Kernel, Node, operators

Array = np.ndarray[Any, np.dtype[Any]]


def kernel_of(op_type: str, *, inputs: int = 1, outputs: int = 1, opset: int = 20, **attributes: Any) -> Kernel:
    """Return the kernel of a node with attributes; all of them must be understood."""
    read = Attributes({attr.name: attr for attr in ir.convenience.convert_attributes(attributes)})
    node = Node(op_type.lower(), op_type, opset, (True,) * inputs, (True,) * outputs, read, {})
    kernel = operators()[op_type](node)
    assert read.unread() == []
    return kernel


def run_kernel(op_type: str, *inputs: Array | None, outputs: int = 1, opset: int = 20, **attributes: Any) -> list[Any]:
    """Return the outputs of a kernel as arrays."""
    kernel = kernel_of(op_type, inputs=len(inputs), outputs=outputs, opset=opset, **attributes)
    results = kernel(*(None if array is None else torch.from_numpy(np.array(array)) for array in inputs))
    tensors: Sequence[Tensor] = results if isinstance(results, tuple) else (results,)
    return [tensor.numpy() for tensor in tensors[:outputs]]


def run_onnxruntime(
    op_type: str, *inputs: Array | None, outputs: int = 1, opset: int = 20, **attributes: Any
) -> list[Any]:
    """Return what ONNX Runtime computes for the same node."""
    from onnxruntime import InferenceSession, SessionOptions

    names = ["" if array is None else f"x{index}" for index, array in enumerate(inputs)]
    made = [f"y{index}" for index in range(outputs)]
    feed = {name: np.array(array) for name, array in zip(names, inputs, strict=True) if array is not None}
    graph = helper.make_graph(
        [helper.make_node(op_type, names, made, **attributes)],
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feed.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in made],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = SessionOptions()
    options.log_severity_level = 3
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))

"""Graphs from ONNX's own text form, and ONNX Runtime as what they should compute."""

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import ModelProto, numpy_helper, parser
from torch import Tensor

from compress.model import Model


def parse(text: str, *, opset: int = 20, **initializers: Any) -> Model:
    """Return the model of a graph's text; initializers are arrays by name."""
    proto: ModelProto = parser.parse_model(
        f'<ir_version: 10, opset_import: ["": {opset}, "com.microsoft": 1, "local.test": 1]> {text}'
    )
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers.items()]
    proto.graph.initializer.extend(tensors)
    return Model.from_ir(ir.from_proto(proto))


def run_onnxruntime(model: Model, feed: dict[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """Return ONNX Runtime's outputs, without its own graph optimisations."""
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    session = InferenceSession(model.to_bytes(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {name: tensor.numpy() for name, tensor in feed.items()})
    return dict(zip(names, outputs, strict=True))

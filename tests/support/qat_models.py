"""Small quantized models, and what engines make of them."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper
from small_graphs import build, normal

from compress.data.gather import gather_samples
from compress.model import Model
from compress.quantize.qat.student import QuantizedNet
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import DialectName, load_target

Array = np.ndarray

TARGETS: dict[DialectName, str] = {"u8s8": "x86-vnni", "u8s8-7bit": "x86-avx2", "s8s8-symmetric": "rtx-ada"}


def make_context(original: Model, folder: Path, dialect: DialectName = "u8s8", **changes: object) -> StepContext:
    """Return the context of a step; ``changes`` replace its fields."""
    target = load_target(TARGETS[dialect])
    samples = gather_samples(None, None, original.inputs, seed=0).calibration
    fields = {"target": target, "calibration": samples, "threads": 1, "seed": 0, "store": Store(folder)}
    return StepContext(**{**fields, "progress": lambda *_: None, "original": original, **changes})  # type: ignore[arg-type]


def quantized(model: Model, folder: Path, dialect: DialectName = "u8s8") -> Model:
    """Return the model as the step `quantize` leaves it when it repairs nothing."""
    settings = QuantizeSettings(observer="minmax", smooth=False, equalize=False, bias_correction="none")
    return quantize_static(model, settings, make_context(model, folder, dialect)).model


def build_tied() -> Model:
    """Return Conv-Clip, MaxPool and Transpose (which move data), Conv: x [batch, 3, 8, 8] → y [batch, 4, 4, 4]."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c0", "zero", "six"], ["r0"], "clip0"),
        helper.make_node("MaxPool", ["r0"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["p"], ["t"], "transpose", perm=[0, 1, 3, 2]),
        helper.make_node("Conv", ["t", "w1", "b1"], ["y"], "conv1"),
    ]
    constants = {
        "w0": 3 * normal(8, 3, 3, 3, seed=2), "b0": normal(8, seed=1), "w1": normal(4, 8, 1, 1, seed=5),
        "b1": normal(4), "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    }  # fmt: skip
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])


def random_samples(count: int = 16, seed: int = 7) -> Array:
    """Return samples x [count, 3, 8, 8]."""
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)


def run_graph(model: Model, x: Array, *, simulate: bool = False) -> Array:
    """Return the first output of a graph in ONNX Runtime: in integers, or as it is written."""
    with open_graph(model.to_bytes(), threads=1, simulate=simulate) as session:
        return next(iter(session.run({"x": x}).values()))


def run_student(student: QuantizedNet, x: Array) -> Array:
    """Return the first output of a student."""
    with torch.no_grad():
        found: Array = student({"x": torch.from_numpy(x)})[student.outputs[0]].numpy()
    return found


def sqnr_db(reference: Array, other: Array) -> float:
    """Return the signal-to-noise ratio in dB; 200 where both are equal."""
    error = float(((reference - other) ** 2).sum())
    return 200.0 if error == 0 else float(10 * np.log10((reference**2).sum() / error))


def optimized_operators(model: Model, folder: Path) -> dict[str, int]:
    """Return how often each operator is in the graph that ONNX Runtime executes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.to_bytes(), options, providers=["CPUExecutionProvider"])
    names = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    return {name: names.count(name) for name in sorted(set(names))}


def shake(student: QuantizedNet, seed: int = 0, size: float = 0.2) -> None:
    """Change every parameter at random, as training would, and bring it back to where it is allowed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            noise = size * torch.randn(parameter.shape, generator=generator)
            parameter.mul_(1 + noise) if parameter.ndim > 1 else parameter.add_(noise)
    student.project()

"""Our graph runner beside the two packages that turn ONNX into PyTorch modules: onnx2torch and onnx2pytorch.

    pip install --no-deps onnx2torch==1.5.15 onnx2pytorch==0.6.0
    python benchmarks/converters.py [--only node-tests|models]

Prints for each tool

- how many node tests of the ``onnx`` package it passes (opset up to 23, types that networks compute with, whatever
  the operator), how many operators it passes at least one test with, and
  whether gradients pass a Q/DQ pair;
- for exports of the MobileNetV2 and the BERT example, a small ViT and an LSTM at several opsets: the largest difference
  from ONNX Runtime relative to the largest output, the share of the weights that a backward pass reaches as parameters,
  and the share that can be written back because a parameter has the name and shape of its initializer.

Both packages need torchvision at import; where it is not installed an empty one stands in, and only the operators that
use it (suppression, region pooling, deformable convolution, image decoding) are missing then.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from compress.intake.export import export_module
from compress.model import Model, TensorSpec
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.roles import trainable_initializers

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "mobilenetv2")]

PACKAGES = ("onnx2torch", "onnx2pytorch")
OPSETS = (18, 20, 23)


@dataclass(frozen=True)
class Tool:
    """A way to run an ONNX model as a module.

    Attributes:
        call: From the module, the model and tensors in the order of its inputs to tensors in the order of its outputs.
        parameters: The parameters of the module under the names that they would be written back to.
    """

    name: str
    convert: Callable[[onnx.ModelProto], nn.Module]
    call: Callable[[nn.Module, onnx.ModelProto, Sequence[Any]], list[Tensor]]
    parameters: Callable[[nn.Module], dict[str, nn.Parameter]]


def _our_tool() -> Tool:
    def call(net: nn.Module, _: onnx.ModelProto, inputs: Sequence[Any]) -> list[Tensor]:
        assert isinstance(net, GraphNet)
        outputs = net(dict(zip(net.inputs, inputs, strict=True)))
        return [outputs[name] for name in net.outputs]

    def parameters(net: nn.Module) -> dict[str, nn.Parameter]:
        assert isinstance(net, GraphNet)
        return {net.initializer_names[key]: parameter for key, parameter in net.named_parameters()}

    return Tool("torchnet", lambda model: GraphNet(Model.from_ir(ir.from_proto(model))), call, parameters)


def _package(name: str) -> Tool:
    module = importlib.import_module(name)
    convert = module.convert if name == "onnx2torch" else module.ConvertModel

    def call(net: nn.Module, _: onnx.ModelProto, inputs: Sequence[Any]) -> list[Tensor]:
        outputs = net(*inputs)
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]

    version = importlib.metadata.version(name)
    return Tool(f"{name} {version}", convert, call, lambda net: dict(net.named_parameters()))


@dataclass(frozen=True)
class Subject:
    """A network to export, with one batch of inputs."""

    name: str
    module: nn.Module
    specs: tuple[TensorSpec, ...]
    inputs: dict[str, Tensor]


class VisionTransformer(nn.Module):
    """Patches, a class token, encoder layers: image [N, 3, 64, 64] → logits [N, 10]."""

    def __init__(self, width: int = 96, layers: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 65, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:  # noqa: D102
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        logits: Tensor = self.head(self.encoder(x)[:, 0])
        return logits


class Tagger(nn.Module):
    """Two bidirectional LSTM layers: x [N, 20, 8] → tags [N, 20, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 32, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        tags: Tensor = self.head(self.lstm(x)[0])
        return tags


def main() -> None:
    parser = argparse.ArgumentParser(description="ONNX in PyTorch: torchnet, onnx2torch, onnx2pytorch.")
    parser.add_argument("--only", choices=("node-tests", "models"))
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    tools = [_our_tool(), *_installed()]
    for tool in tools if only != "models" else []:
        print(f"{tool.name:18} {_count_node_tests(tool)}", flush=True)
    if only != "node-tests":
        _compare_on_models(tools)


def _compare_on_models(tools: Sequence[Tool]) -> None:
    print(f"{'model':12} opset  {'tool':18} {'difference':>10} {'trained':>8} {'written back':>13}")
    for subject in _subjects():
        for opset in OPSETS:
            graph = export_module(subject.module.eval(), subject.specs, opset).graph
            for tool in tools:
                print(f"{subject.name:12} {opset:5}  {tool.name:18} {_measure(tool, graph, subject)}", flush=True)


def _installed() -> list[Tool]:
    found: list[Tool] = []
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: pip install --no-deps {package}")
            continue
        _stand_in_for_torchvision()
        found.append(_package(package))
    return found


def _stand_in_for_torchvision() -> None:
    """Put empty modules where torchvision is not installed; calling anything in them fails."""
    if importlib.util.find_spec("torchvision") is not None:
        return

    def missing(name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)

        def fail(*_: object, **__: object) -> None:
            raise NotImplementedError(f"torchvision is not installed ({name})")

        return fail

    for name in ("torchvision", "torchvision.ops", "torchvision.io"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
        module.__getattr__ = missing  # type: ignore[method-assign]
        sys.modules[name] = module
    sys.modules["torchvision"].ops = sys.modules["torchvision.ops"]  # type: ignore[attr-defined]


def _count_node_tests(tool: Tool) -> str:
    from conformance import case_operators, cases_of, promised_operators, run_case

    def run(model: onnx.ModelProto, inputs: Sequence[Any]) -> list[Tensor]:
        return tool.call(tool.convert(model), model, inputs)

    cases = cases_of(promised_operators())
    passed = [name for name, case in cases.items() if _passes(lambda case=case: run_case(case, run))]  # type: ignore[misc]
    own = {next(iter(case_operators(cases[name]))) for name in passed if len(case_operators(cases[name])) == 1}
    gradient = "passes" if _passes(lambda: _check_gradient_of_quantization(tool)) else "lets no"
    return f"{len(passed):5} of {len(cases)} node tests, {len(own):3} operators, Q/DQ {gradient} gradients"


def _check_gradient_of_quantization(tool: Tool) -> None:
    """Fail where a Q/DQ pair, which rounds, has no gradient: the graph could not be trained."""
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [
            numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
            numpy_helper.from_array(np.zeros((), np.int8), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    x = torch.tensor([0.31, -0.52], requires_grad=True)
    (y,) = tool.call(tool.convert(model), model, [x])
    torch.autograd.backward(y.sum())
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


def _passes(run: Callable[[], None]) -> bool:
    try:
        run()
    except Exception:  # noqa: BLE001 - whatever a package raises, the case does not pass
        return False
    return True


def _subjects() -> list[Subject]:
    from network import MobileNetV2

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    spec = importlib.util.spec_from_file_location("sentiment", ROOT / "examples" / "sentiment" / "network.py")
    assert spec is not None
    assert spec.loader is not None
    sentiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sentiment)
    words = torch.randint(0, 30_000, (2, 16), generator=generator)
    text = tuple(TensorSpec(name, "int64", ("batch", "tokens")) for name in ("input_ids", "attention_mask"))
    image = torch.randn(2, 3, 96, 96, generator=generator)
    patch = image[..., :64, :64].contiguous()
    steps = torch.randn(2, 20, 8, generator=generator)
    sentences = {"input_ids": words, "attention_mask": torch.ones_like(words)}
    return [
        Subject("MobileNetV2", MobileNetV2(), (_floats("image", 3, 96, 96),), {"image": image}),
        Subject("BERT", sentiment.SentimentNet(2), text, sentences),
        Subject("ViT", VisionTransformer(), (_floats("image", 3, 64, 64),), {"image": patch}),
        Subject("LSTM", Tagger(), (_floats("x", 20, 8),), {"x": steps}),
    ]


def _floats(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", ("batch", *shape))


def _measure(tool: Tool, graph: ir.Model, subject: Subject) -> str:
    model = ir.to_proto(graph)
    expected = _reference(model, subject.inputs)
    try:
        module = tool.convert(model)
        outputs = tool.call(module, model, [subject.inputs[value.name] for value in model.graph.input])
    except Exception as error:  # noqa: BLE001 - whatever a package raises is its result
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:90]}"
    difference = float((outputs[0].detach() - expected).abs().max() / expected.abs().max())
    arrays = {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}
    weights = {name: arrays[name].shape for name in trainable_initializers(graph.graph)}
    total = sum(int(np.prod(shape)) for shape in weights.values())
    if not outputs[0].requires_grad:
        return f"{difference:10.1e} {0:8.0%} {0:13.0%}"
    torch.autograd.backward(outputs[0].square().sum())
    trained = {name: value for name, value in tool.parameters(module).items() if value.grad is not None}
    named = sum(v.numel() for n, v in trained.items() if n in weights and tuple(v.shape) == weights[n])
    return f"{difference:10.1e} {sum(v.numel() for v in trained.values()) / total:8.0%} {named / total:13.0%}"


def _reference(model: onnx.ModelProto, inputs: dict[str, Tensor]) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(outputs[0])


if __name__ == "__main__":
    main()

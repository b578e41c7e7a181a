"""Whole networks: what ONNX Runtime computes, and the gradients of the module that they were exported from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exported_nets import ARCHITECTURES, folded_model, make_batch, make_module, unfolded_model
from parsed_graphs import run_onnxruntime
from tolerances import TOLERANCES, assert_near

from compress.intake import IntakeOptions, take_in
from compress.project import load_project
from compress.torchnet.graph_net import GraphNet

ROOT = Path(__file__).parents[2]
NAMES = sorted(ARCHITECTURES)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_onnxruntime_and_the_module_at_another_batch_size(name: str) -> None:
    model, x = unfolded_model(name), make_batch(name, 3)
    y = GraphNet(model)({"x": x})["y"]
    assert_near(y, make_module(name)(x), "eager")
    assert_near(y, run_onnxruntime(model, {"x": x})["y"], "onnxruntime")


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_all_parameters_equal_those_of_the_module(name: str) -> None:
    module, net, x = make_module(name), GraphNet(unfolded_model(name)), make_batch(name, 3)
    module(x).square().sum().backward()
    net({"x": x})["y"].square().sum().backward()
    ours = {net.initializer_names[key]: parameter.grad for key, parameter in net.named_parameters()}
    theirs = {key: parameter.grad for key, parameter in module.named_parameters()}
    assert ours.keys() == theirs.keys()
    # Relative to the largest: a bias before a normalisation has no gradient but rounding.
    largest = max(float(gradient.abs().max()) for gradient in theirs.values() if gradient is not None)
    for key, gradient in theirs.items():
        mine = ours[key]
        assert mine is not None
        assert gradient is not None
        assert float((mine - gradient).abs().max()) <= TOLERANCES["gradient"] * largest, key


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_that_the_intake_hands_on_has_the_outputs_and_the_input_gradient_of_the_module(name: str) -> None:
    x, again = make_batch(name, 4).requires_grad_(), make_batch(name, 4).requires_grad_()
    expected, (y,) = make_module(name)(x), GraphNet(folded_model(name))({"x": again}).values()
    assert_near(y, expected, "folded")
    expected.square().sum().backward()
    y.square().sum().backward()
    assert x.grad is not None
    assert again.grad is not None
    assert_near(again.grad, x.grad, "folded")


@pytest.mark.slow
def test_mobilenetv2_with_its_real_weights_equals_onnxruntime_and_its_gradient_the_module() -> None:
    subprocess.run([sys.executable, ROOT / "examples" / "fetch.py", "mobilenetv2"], check=True, env=os.environ)
    folder = ROOT / "examples" / "mobilenetv2"
    project = load_project(folder / "model.pth")
    options = IntakeOptions(inputs=project.model.inputs, factory=project.model.factory, search_path=folder)
    model = take_in(folder / "model.pth", options).model
    from network import mobilenet_v2

    module = mobilenet_v2().eval()
    module.load_state_dict(torch.load(folder / "model.pth"))
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    (spec,) = model.inputs
    net = GraphNet(model)
    (y,) = net({spec.name: x}).values()
    (expected,) = run_onnxruntime(model, {spec.name: x}).values()
    assert_near(y, expected, "onnxruntime")
    # In float32 the gradient of the module itself is 1 % from that in float64: activations at the kinks of ReLU6.
    one, other = x.double().requires_grad_(), x.double().requires_grad_()
    (y,) = net.double()({spec.name: one}).values()
    torch.autograd.backward(y.square().sum())
    torch.autograd.backward(module.double()(other).square().sum())
    assert_near(one.grad, other.grad, "folded")

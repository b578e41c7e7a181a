"""BatchNormalization trained in the graph is what `nn.BatchNorm` does."""

import torch
from exported_nets import make_batch, make_module, unfolded_model
from parsed_graphs import run_onnxruntime
from tolerances import assert_near

from compress.torchnet.graph_net import GraphNet


def test_a_net_is_made_in_evaluation_mode() -> None:
    assert not GraphNet(unfolded_model("resnet")).training


def test_training_steps_give_the_weights_and_statistics_of_the_eager_module() -> None:
    model, module = unfolded_model("resnet"), make_module("resnet").train()
    net = GraphNet(model).train()
    ours, theirs = (torch.optim.SGD(part.parameters(), lr=0.05, momentum=0.9) for part in (net, module))
    x = make_batch("resnet", 8)
    for _ in range(3):
        for optimizer, y in ((ours, net({"x": x})["y"]), (theirs, module(x))):
            optimizer.zero_grad()
            y.square().mean().backward()
            optimizer.step()
    state = module.state_dict()
    trained = {name: net.get_parameter(key) for key, name in net.initializer_names.items()}
    statistics = {name: net.get_buffer(key) for key, name in net.statistic_names.items()}
    assert {**trained, **statistics}.keys() == {name for name in state if not name.endswith("num_batches_tracked")}
    for name, values in {**trained, **statistics}.items():
        assert_near(values, state[name], "gradient")


def test_evaluation_uses_the_statistics_that_training_left_and_the_written_model_too() -> None:
    model = unfolded_model("resnet")
    net = GraphNet(model).train()
    net({"x": make_batch("resnet", 8)})
    feed = {"x": make_batch("resnet", 2)}
    with torch.no_grad():
        before = net.eval()(feed)["y"]
        again = net(feed)["y"]
    assert torch.equal(before, again)
    assert_near(before, run_onnxruntime(net.write_back(model), feed)["y"], "onnxruntime")


def test_statistics_are_saved_and_loaded_with_the_weights() -> None:
    model = unfolded_model("resnet")
    net, other = GraphNet(model).train(), GraphNet(model)
    net({"x": make_batch("resnet", 8)})
    other.load_state_dict(net.state_dict())
    feed = {"x": make_batch("resnet", 2)}
    assert torch.equal(net.eval()(feed)["y"], other(feed)["y"])

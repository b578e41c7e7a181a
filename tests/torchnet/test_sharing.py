from typing import Any

import numpy as np
import torch
from parsed_graphs import parse, run_onnxruntime
from tolerances import assert_near

from compress.model import Model
from compress.torchnet.graph_net import GraphNet

NORMS = """g (float[n,4] x) => (float[n,4] y) {
  a = LayerNormalization(x, ones, zeros) b = MatMul(a, w) y = LayerNormalization(b, ones, zeros)
}"""
BATCH_NORMS = """g (float[n,4] x) => (float[n,4] y) {
  a = BatchNormalization(x, g1, zeros, zeros, ones) b = MatMul(a, w) y = BatchNormalization(b, g2, zeros, zeros, ones)
}"""


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def fresh(text: str) -> Model:
    fours: dict[str, Any] = {"ones": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32)}
    gains: dict[str, Any] = {"g1": floats(4), "g2": floats(4) + 1} if "g1" in text else {}
    return parse(text, **fours, **gains, w=floats(4, 4))


def test_equal_fresh_gains_that_the_exporter_stored_once_are_trained_apart() -> None:
    net = GraphNet(fresh(NORMS))
    assert set(net.initializer_names.values()) == {"ones", "ones_1", "zeros", "zeros_1", "w"}
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    net({"x": x})["y"].pow(3).sum().backward()
    first, second = net.get_parameter("ones").grad, net.get_parameter("ones_1").grad
    assert first is not None
    assert second is not None
    assert not torch.allclose(first, second)


def test_gains_trained_apart_are_written_back_apart() -> None:
    model = fresh(NORMS)
    net = GraphNet(model)
    with torch.no_grad():
        net.get_parameter("ones_1").mul_(3)
    feed = {"x": torch.randn(6, 4, generator=torch.Generator().manual_seed(0))}
    assert_near(run_onnxruntime(net.write_back(model), feed)["y"], net(feed)["y"], "onnxruntime")


def test_layers_that_share_fresh_running_statistics_update_their_own() -> None:
    model = fresh(BATCH_NORMS)
    net = GraphNet(model).train()
    net({"x": torch.randn(16, 4, generator=torch.Generator().manual_seed(0)) + 2})
    assert len(set(net.statistic_names.values())) == 4
    means = [net.get_buffer(key) for key, name in net.statistic_names.items() if name.startswith("zeros")]
    assert not torch.allclose(means[0], means[1])
    feed = {"x": torch.ones(2, 4)}
    assert_near(run_onnxruntime(net.write_back(model), feed)["y"], net.eval()(feed)["y"], "onnxruntime")


def test_a_fresh_gain_that_a_shape_reads_too_keeps_its_other_reader() -> None:
    model = parse(
        "g (float[n,4] x) => (float[n,4] y, float[4] k) { y = LayerNormalization(x, ones, zeros) k = Exp(ones) }",
        ones=np.ones(4, np.float32), zeros=np.zeros(4, np.float32),
    )  # fmt: skip
    net = GraphNet(model)
    with torch.no_grad():
        for key, name in net.initializer_names.items():
            net.get_parameter(key).fill_(2.0 if name.startswith("ones") else 0.0)
    outputs = net({"x": torch.randn(3, 4)})
    assert_near(outputs["k"], torch.full((4,), float(np.e)), "eager")

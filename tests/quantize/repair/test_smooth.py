"""Scale migration: the function stays, matrix products behind a LayerNormalization read even channels."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper
from qat_models import make_context, optimized_operators, run_graph, sqnr_db
from small_graphs import build, normal

from compress.model import Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.repair.equalize import Equalized
from compress.quantize.repair.smooth import smooth
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import Session, open_graph
from compress.steps import StepContext

node = helper.make_node
PLAIN = QuantizeSettings(observer="minmax", smooth=False, equalize=False, bias_correction="none")


def opened(observed: Model, values: list[str]) -> Session:
    return open_graph(observed.to_bytes(), threads=1, outputs=values)


def build_block(gains: np.ndarray, *, residual: bool = True) -> Model:
    """Return LayerNormalization, two products of it, and a residual: x [batch, 5, 16] → y [batch, 5, 16]."""
    nodes = [
        node("LayerNormalization", ["x", "g", "b"], ["n"], "norm", axis=-1),
        node("MatMul", ["n", "q"], ["p"], "query"),
        node("MatMul", ["n", "k"], ["r"], "key"),
        node("Add", ["p", "r"], ["s"], "sum"),
        node("Add", ["s", "n" if residual else "s"], ["y"], "residual"),
    ]
    constants: dict[str, Any] = {
        "g": gains,
        "b": np.zeros(16, np.float32),
        "q": normal(16, 16, seed=1),
        "k": normal(16, 16, seed=2),
    }
    return build(nodes, constants, ["batch", 5, 16], ["y"])


def uneven() -> np.ndarray:
    return np.where(np.arange(16) == 3, 30, 1).astype(np.float32)


def smoothed(model: Model, context: StepContext) -> tuple[Model, list[Equalized]]:
    return smooth(model, DIALECTS["u8s8"], context.calibration, opened, lambda *_: None)


def test_products_read_a_copy_and_the_residual_what_it_read_before(tmp_path: Path) -> None:
    model = build_block(uneven())
    found, done = smoothed(model, make_context(model, tmp_path))
    nodes = {str(each.name): each for each in found.graph.graph}
    assert [each.producer for each in done] == ["norm_smoothed"]
    assert done[0].spread > 3
    for name in ("query", "key"):
        value = nodes[name].inputs[0]
        assert value is not None
        assert value.producer() is nodes["norm_smoothed"]
    assert nodes["residual"].inputs[1] is nodes["norm"].outputs[0]


def test_the_function_stays_the_same_and_int8_is_better(tmp_path: Path) -> None:
    model = build_block(uneven())
    context = make_context(model, tmp_path)
    x = np.concatenate([batch.inputs["x"] for batch in context.calibration.batches(32)])
    wanted = run_graph(model, x)
    assert sqnr_db(wanted, run_graph(smoothed(model, context)[0], x)) > 100
    before, after = (
        quantize_static(model, PLAIN.model_copy(update={"smooth": each}), context) for each in (False, True)
    )
    assert after.metrics["smoothed_norms"] == 1
    gain = sqnr_db(wanted, run_graph(after.model, x)) - sqnr_db(wanted, run_graph(before.model, x))
    assert gain > 3
    products = [optimized_operators(each.model, tmp_path)["MatMulIntegerToFloat"] for each in (before, after)]
    assert products == [2, 2]


def test_a_norm_whose_channels_are_even_gets_no_copy(tmp_path: Path) -> None:
    model = build_block(np.ones(16, np.float32))
    found, done = smoothed(model, make_context(model, tmp_path))
    assert done == []
    assert found is model


def test_a_norm_that_only_products_read_is_left_to_equalization(tmp_path: Path) -> None:
    model = build_block(uneven(), residual=False)
    context = make_context(model, tmp_path)
    assert smoothed(model, context)[1] == []
    result = quantize_static(model, PLAIN.model_copy(update={"smooth": True, "equalize": True}), context)
    assert (result.metrics["smoothed_norms"], result.metrics["equalized_groups"]) == (0, 1)

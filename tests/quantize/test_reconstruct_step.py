from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engines import FakeSamples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper
from qat_models import build_tied, make_context, quantized
from small_graphs import build, build_residual, normal
from torch import from_numpy, no_grad, tensor

from compress.data.binding import bind_samples
from compress.data.samples import SampleSet
from compress.errors import ModelError
from compress.model import Model
from compress.quantize.qat.sites import WeightSite
from compress.quantize.reconstruct.blocks import find_blocks
from compress.quantize.reconstruct.rounding import RoundedWeight
from compress.quantize.reconstruct.settings import ReconstructSettings
from compress.quantize.reconstruct.step import reconstruct
from compress.recipe import load_recipe
from compress.steps import StepResult
from compress.targets import DialectName

QUICK: dict[str, Any] = {"steps": 60, "batch": 32, "held_out_share": 0.25}


def samples(model: Model, count: int = 128) -> SampleSet:
    """Return samples with few directions, as images have: there rounding can be made up for."""
    random = np.random.default_rng(3)
    x = random.standard_normal((count, 6)) @ random.standard_normal((6, 192))
    return bind_samples(FakeSamples(x.reshape(count, 3, 8, 8).astype(np.float32), None), model.inputs)


def build_chain() -> Model:
    """Return Conv-Relu-Conv-Relu-Conv-Relu-Conv: x [batch, 3, 8, 8] → y [batch, 4, 8, 8]."""
    nodes, constants = [], {}
    for number, (before, after) in enumerate([(3, 8), (8, 8), (8, 8), (8, 4)]):
        source = "x" if number == 0 else f"r{number - 1}"
        output = "y" if number == 3 else f"c{number}"
        nodes.append(helper.make_node("Conv", [source, f"w{number}", f"b{number}"], [output], f"conv{number}"))
        if number < 3:
            nodes.append(helper.make_node("Relu", [output], [f"r{number}"], f"relu{number}"))
        constants[f"w{number}"] = normal(after, before, 1, 1, seed=number)
        constants[f"b{number}"] = normal(after, seed=10 + number)
    return build(nodes, constants, ["batch", 3, 8, 8], ["y"])


def run(original: Model, folder: Path, dialect: DialectName = "u8s8", **changes: Any) -> tuple[Model, StepResult]:
    """Return the quantized model and what the step makes of it."""
    model = quantized(original, folder, dialect)
    context = make_context(original, folder, dialect, calibration=samples(original))
    return model, reconstruct(model, ReconstructSettings.model_validate({**QUICK, **changes}), context)


def number(result: StepResult, name: str) -> float:
    found = result.metrics[name]
    assert isinstance(found, int | float)
    return float(found)


def integers(model: Model) -> dict[str, np.ndarray]:
    constants = {name: value.const_value for name, value in model.graph.graph.initializers.items()}
    return {
        name: array.numpy() for name, array in constants.items() if array is not None and array.dtype.name == "INT8"
    }


@pytest.mark.parametrize("dialect", ["u8s8", "u8s8-7bit", "s8s8-symmetric"])
@pytest.mark.parametrize(("granularity", "gain"), [("block", 0.5), ("layer", 0.1)])
def test_learned_rounding_is_nearer_and_no_weight_moves_more_than_a_step(
    tmp_path: Path, dialect: DialectName, granularity: str, gain: float
) -> None:
    before, result = run(build_chain(), tmp_path, dialect, granularity=granularity)
    assert number(result, "sqnr_db_after") > number(result, "sqnr_db_before") + gain
    assert number(result, "weights_rounded_otherwise") > 0
    first, last = integers(before), integers(result.model)
    assert first.keys() == last.keys()
    steps = [np.abs(first[name].astype(int) - last[name]).max() for name in first if first[name].size > 1]
    assert max(steps) == 1
    assert [node.op_type for node in result.model.graph.graph] == [node.op_type for node in before.graph.graph]


@pytest.mark.parametrize("build_model", [build_residual, build_tied])
def test_what_is_not_better_on_held_out_samples_is_left_out(tmp_path: Path, build_model: Any) -> None:
    before, result = run(build_model(), tmp_path, learning_rate=30.0, rounding_weight=0.0)
    kept = result.metrics["kept"]
    assert (result.model.digest() == before.digest()) is not kept
    assert not kept or number(result, "sqnr_db_after") > number(result, "sqnr_db_before")


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (run(build_chain(), tmp_path / name, steps=10)[1].model.digest() for name in "ab")
    assert first == second


def test_no_time_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    before, result = run(build_chain(), tmp_path, time_budget_seconds=1e-9)
    assert result.metrics["blocks_learned"] == 0
    assert result.model.digest() == before.digest()


def test_blocks_have_every_layer_once_and_end_where_one_value_leads_on(tmp_path: Path) -> None:
    model = quantized(build_chain(), tmp_path)
    blocks = find_blocks(model, "u8s8", least=2, most=12)
    assert [block.layers for block in blocks] == [("conv0", "conv1"), ("conv2", "conv3")]
    assert (blocks[0].inputs, blocks[0].outputs) == (("x",), ("r1",))
    assert (blocks[1].inputs, blocks[1].outputs) == (("r1",), ("y",))
    alone = find_blocks(model, "u8s8", least=2, most=1)
    assert [block.layers for block in alone] == [("conv0",), ("conv1",), ("conv2",), ("conv3",)]


def test_a_way_past_layers_keeps_them_in_one_block(tmp_path: Path) -> None:
    model = quantized(build_residual(), tmp_path)
    blocks = find_blocks(model, "u8s8", least=1, most=12)
    inside = [name for block in blocks for name in block.layers]
    assert len(inside) == len(set(inside))
    for block in blocks:
        assert set(block.outputs).isdisjoint(block.inputs)


def test_a_model_that_is_not_quantized_is_refused(tmp_path: Path) -> None:
    original = build_chain()
    with pytest.raises(ModelError, match="not quantized") as caught:
        reconstruct(original, ReconstructSettings(), make_context(original, tmp_path))
    assert '"quantize", "reconstruct"' in str(caught.value.hint)


def test_a_model_whose_float_weights_nobody_knows_is_refused(tmp_path: Path) -> None:
    model = quantized(build_chain(), tmp_path / "one")
    with pytest.raises(ModelError, match="not known"):
        reconstruct(model, ReconstructSettings(), make_context(build_chain(), tmp_path / "other"))


def test_the_recipe_has_a_name() -> None:
    recipe = load_recipe("int8-reconstruct")
    assert [step.name for step in recipe.attempts[0]] == ["quantize", "reconstruct"]


@given(arrays(np.int64, (2, 5), elements=st.integers(-200 * 64, 200 * 64)))
def test_codes_start_rounded_and_integers_stay(sixty_fourths: np.ndarray) -> None:
    steps = (sixty_fourths / 64).astype(np.float32)
    site = WeightSite("w", "s", "latent", "node", 0, -127, 127)
    module = RoundedWeight(site, tensor([0.5, 2.0]), power_of_two=False)
    learned = module.learned_from(from_numpy(steps * np.array([[0.5], [2.0]], np.float32)))
    clipped = np.clip(steps, -127, 127)
    assert (np.abs(module.codes(learned) - clipped) <= 0.5).all()
    with no_grad():
        module.rounding.fill_(9.0)
    whole = clipped == np.floor(clipped)
    assert (module.codes(learned) == np.where(whole, clipped, np.floor(clipped) + 1))[clipped < 127].all()

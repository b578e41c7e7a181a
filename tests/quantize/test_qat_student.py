from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qat_models import (
    build_tied,
    optimized_operators,
    quantized,
    random_samples,
    run_graph,
    run_student,
    shake,
    sqnr_db,
)
from small_graphs import build_residual

from compress.model import Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.qat.quantizers import WeightQuantizer
from compress.quantize.qat.student import QuantizedNet
from compress.targets import DialectName

NAMES: tuple[DialectName, ...] = ("u8s8", "u8s8-7bit", "s8s8-symmetric")
EXACT_DB = 90.0
"""Sums in another order: single codes may fall on the other side of a half."""


def array(model: Model, name: str) -> np.ndarray:
    constant = model.graph.graph.initializers[name].const_value
    assert constant is not None
    return constant.numpy()


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("build", [build_residual, build_tied])
def test_the_student_computes_what_the_quantized_graph_means(
    tmp_path: Path, dialect: DialectName, build: object
) -> None:
    original = build()  # type: ignore[operator]
    model = quantized(original, tmp_path, dialect)
    found = run_student(QuantizedNet(model, original, DIALECTS[dialect]), random_samples())
    assert sqnr_db(run_graph(model, random_samples(), simulate=True), found) > EXACT_DB


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("build", [build_residual, build_tied])
def test_writing_back_without_training_gives_the_same_bytes(
    tmp_path: Path, dialect: DialectName, build: object
) -> None:
    original = build()  # type: ignore[operator]
    model = quantized(original, tmp_path, dialect)
    before = model.digest()
    assert QuantizedNet(model, original, DIALECTS[dialect]).write_back(model).digest() == before
    assert model.digest() == before


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("power_of_two", [False, True])
def test_the_written_graph_means_what_the_trained_student_computes(
    tmp_path: Path, dialect: DialectName, power_of_two: bool
) -> None:
    original = build_residual()
    model = quantized(original, tmp_path, dialect)
    student = QuantizedNet(model, original, DIALECTS[dialect], power_of_two=power_of_two)
    shake(student)
    written = student.write_back(model)
    assert written.digest() != model.digest()
    found = run_student(student, random_samples())
    assert sqnr_db(run_graph(written, random_samples(), simulate=True), found) > EXACT_DB
    again = QuantizedNet(written, original, DIALECTS[dialect])
    assert sqnr_db(run_student(again, random_samples()), found) > EXACT_DB


@pytest.mark.parametrize("dialect", ["u8s8", "u8s8-7bit"])
def test_the_integer_engine_computes_what_the_trained_student_does(tmp_path: Path, dialect: DialectName) -> None:
    original = build_residual()
    model = quantized(original, tmp_path, dialect)
    student = QuantizedNet(model, original, DIALECTS[dialect])
    shake(student)
    engine = run_graph(student.write_back(model), random_samples())
    assert sqnr_db(run_student(student, random_samples()), engine) > 50


@pytest.mark.parametrize("dialect", ["u8s8", "u8s8-7bit"])
@pytest.mark.parametrize("build", [build_residual, build_tied])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_onnx_runtime_fuses_the_trained_graph_exactly_as_before(
    tmp_path: Path, dialect: DialectName, build: object, power_of_two: bool
) -> None:
    original = build()  # type: ignore[operator]
    model = quantized(original, tmp_path, dialect)
    before = optimized_operators(model, tmp_path)
    assert before["QLinearConv"] >= 2
    assert "Clip" not in before
    student = QuantizedNet(model, original, DIALECTS[dialect], power_of_two=power_of_two)
    with torch.no_grad():
        for scale in student.parts().activation_scales:
            scale.fill_(3.0)
    student.project()
    assert optimized_operators(student.write_back(model), tmp_path) == before


@settings(deadline=None, max_examples=20, derandomize=True)
@given(seed=st.integers(0, 2**31), size=st.floats(0.01, 10), dialect=st.sampled_from(NAMES), power_of_two=st.booleans())
def test_whatever_is_learned_stays_within_the_dialect(
    models: dict[str, tuple[Model, Model]], seed: int, size: float, dialect: DialectName, power_of_two: bool
) -> None:
    original, model = models[dialect]
    student = QuantizedNet(model, original, DIALECTS[dialect], power_of_two=power_of_two)
    shake(student, seed, size)
    written = student.write_back(model)
    grid = DIALECTS[dialect].weight
    for site in student.sites.activations:
        scale, zero = float(array(written, site.scale)), int(array(written, site.zero_point))
        assert 0 < scale <= site.largest_scale
        assert site.low <= zero <= site.high
        assert zero == int(array(model, site.zero_point)) or site.moves_zero
        assert not power_of_two or np.log2(scale) == round(np.log2(scale))
        assert not DIALECTS[dialect].activation.symmetric or zero == 0
    for weight in student.sites.weights:
        codes, scales = array(written, weight.stored), array(written, weight.scale)
        assert codes.min() >= grid.low
        assert codes.max() <= grid.high
        assert (scales > 0).all()
        assert not power_of_two or np.array_equal(np.log2(scales), np.rint(np.log2(scales)))
    for bias in student.sites.biases:
        exact = array(written, bias.input_scale) * array(written, bias.weight_scale)
        assert np.array_equal(array(written, bias.scale), exact)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Model, Model]]:
    original = build_residual()
    return {name: (original, quantized(original, tmp_path_factory.mktemp("store"), name)) for name in NAMES}


def test_the_scale_behind_a_relu6_never_passes_its_bound(models: dict[str, tuple[Model, Model]]) -> None:
    original, model = models["u8s8"]
    student = QuantizedNet(model, original, DIALECTS["u8s8"])
    with torch.no_grad():
        for scale in student.parts().activation_scales:
            scale.fill_(1.0)
    student.project()
    written = student.write_back(model)
    assert np.float32(255) * array(written, "r0_scale") <= 6
    assert array(written, "r0_zero_point") == 0
    assert array(written, "r1_scale") > 2 * array(model, "r1_scale")


def test_a_scale_at_its_bound_still_learns_to_come_back(models: dict[str, tuple[Model, Model]]) -> None:
    original, model = models["u8s8"]
    student = QuantizedNet(model, original, DIALECTS["u8s8"])
    with torch.no_grad():
        for scale in student.parts().activation_scales:
            scale.fill_(1.0)
    student.project()
    student({"x": torch.from_numpy(random_samples())})["y"].square().sum().backward()
    gradients = [scale.grad for scale in student.parts().activation_scales]
    assert all(gradient is not None and float(gradient.abs()) > 0 for gradient in gradients)


def test_tied_scales_stay_tied(tmp_path: Path) -> None:
    original = build_tied()
    model = quantized(original, tmp_path)
    student = QuantizedNet(model, original, DIALECTS["u8s8"])
    tied = next(site for site in student.sites.activations if site.scale == "r0_scale")
    assert len(tied.nodes) == 2
    shake(student)
    written = student.write_back(model)
    scales = {str(node.inputs[1].name) for node in written.graph.graph if node.op_type == "QuantizeLinear"}  # type: ignore[union-attr]
    assert scales == {"x_scale", "r0_scale", "y_scale"}


def test_the_zero_point_of_a_signed_activation_is_learned_and_that_behind_a_relu_is_not(
    models: dict[str, tuple[Model, Model]],
) -> None:
    original, model = models["u8s8"]
    moves = {site.scale: site.moves_zero for site in QuantizedNet(model, original, DIALECTS["u8s8"]).sites.activations}
    assert moves == {
        "x_scale": True, "r0_scale": False, "r1_scale": False, "c2_scale": True, "r2_scale": False, "m_scale": False,
    }  # fmt: skip


def test_what_is_learned_of_a_weight_is_in_integer_steps_of_its_channel(tmp_path: Path) -> None:
    original = build_tied()
    graph = original.copy_graph()
    shrunk = array(original, "w0") * np.array([1e-4, *[1.0] * 7], np.float32)[:, None, None, None]
    graph.graph.initializers["w0"].const_value = ir.tensor(shrunk, name="w0")
    original = Model.from_ir(graph)
    student = QuantizedNet(quantized(original, tmp_path), original, DIALECTS["u8s8"])
    learned = student.parts().weights[0].detach()
    assert learned.shape == (8, 3, 3, 3)
    assert all(63 < float(channel.abs().max()) < 255 for channel in learned)
    quantizer = next(each for each in student.quantizers if isinstance(each, WeightQuantizer))
    assert np.array_equal((learned * quantizer.unit[:, None, None, None]).numpy(), shrunk)


def test_scales_get_the_gradient_of_lsq(models: dict[str, tuple[Model, Model]]) -> None:
    original, model = models["u8s8"]
    student = QuantizedNet(model, original, DIALECTS["u8s8"])
    x = torch.from_numpy(random_samples())
    site = next(site for site in student.sites.activations if site.scale == "x_scale")
    quantizer = student.quantizers[0]
    quantizer(x).sum().backward()
    scale, zero = float(array(model, site.scale)), int(array(model, site.zero_point))
    steps = x.numpy() / scale
    low, high = -zero, 255 - zero
    inside = (steps >= low) & (steps <= high)
    expected = np.where(inside, np.rint(steps) - steps, np.clip(np.rint(steps), low, high)).sum() * scale
    gradient = next(iter(quantizer.scale.parameters())).grad  # type: ignore[union-attr]
    assert float(gradient) == pytest.approx(expected, rel=1e-3, abs=1e-3)  # type: ignore[arg-type]

"""RNN, GRU and LSTM beside ONNX Runtime; the fused kernels beside the loop over time."""

from typing import Any

import numpy as np
import pytest
from single_operator import Array, kernel_of, run_kernel, run_onnxruntime

from compress.torchnet.operators import OperatorError

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OUTPUTS = {"RNN": 2, "GRU": 2, "LSTM": 3}
STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6


def _inputs(
    kind: str, directions: int = 1, *, lengths: bool = False, states: bool = False, peepholes: bool = False
) -> list[Array | None]:
    rng = np.random.default_rng(7)

    def draw(*shape: int) -> Array:
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)

    rows = GATES[kind] * HIDDEN
    inputs: list[Array | None] = [
        2 * draw(STEPS, BATCH, INPUT), draw(directions, rows, INPUT), draw(directions, rows, HIDDEN),
        draw(directions, 2 * rows), np.array([5, 1, 3], np.int32) if lengths else None,
        draw(directions, BATCH, HIDDEN) if states else None,
    ]  # fmt: skip
    if kind == "LSTM":
        inputs += [draw(directions, BATCH, HIDDEN) if states else None]
        inputs += [draw(directions, 3 * HIDDEN) if peepholes else None]
    return inputs


def _check(kind: str, inputs: list[Array | None], **attributes: Any) -> None:
    attributes = {"hidden_size": HIDDEN, **attributes}
    ours = run_kernel(kind, *inputs, outputs=OUTPUTS[kind], **attributes)
    theirs = run_onnxruntime(kind, *inputs, outputs=OUTPUTS[kind], **attributes)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_recurrence_equals_onnx_runtime_in_each_direction_and_with_sequence_lengths(
    kind: str, lengths: bool, direction: str
) -> None:
    directions = 2 if direction == "bidirectional" else 1

    _check(kind, _inputs(kind, directions, lengths=lengths, states=True), direction=direction)


@pytest.mark.parametrize("lengths", [False, True])
def test_a_gru_that_resets_after_the_product_equals_onnx_runtime(lengths: bool) -> None:
    _check("GRU", _inputs("GRU", 2, lengths=lengths), direction="bidirectional", linear_before_reset=1)


def test_an_lstm_with_peepholes_and_coupled_gates_equals_onnx_runtime() -> None:
    _check("LSTM", _inputs("LSTM", peepholes=True))
    _check("LSTM", _inputs("LSTM", peepholes=True, states=True), input_forget=1)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_clipped_recurrence_equals_onnx_runtime(kind: str) -> None:
    _check(kind, _inputs(kind), clip=0.3)


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu", {}),
        ("Tanh", {}),
        ("Sigmoid", {}),
        ("Softsign", {}),
        ("Softplus", {}),
        ("Affine", {"activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("LeakyRelu", {"activation_alpha": [0.2]}),
        ("ThresholdedRelu", {"activation_alpha": [0.3]}),
        ("ScaledTanh", {"activation_alpha": [0.8], "activation_beta": [0.6]}),
        ("HardSigmoid", {"activation_alpha": [0.3], "activation_beta": [0.4]}),
        ("Elu", {"activation_alpha": [0.7]}),
    ],
)
def test_an_rnn_with_any_activation_equals_onnx_runtime(activation: str, parameters: dict[str, list[float]]) -> None:
    _check("RNN", _inputs("RNN"), activations=[activation], **parameters)


def test_activations_take_their_parameters_in_turn() -> None:
    _check(
        "LSTM",
        _inputs("LSTM"),
        activations=["HardSigmoid", "LeakyRelu", "Tanh"],
        activation_alpha=[0.3, 0.2],
        activation_beta=[0.4],
    )


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_the_fused_kernel_equals_the_loop(kind: str) -> None:
    inputs = _inputs(kind, 2, states=True)
    attributes: dict[str, Any] = {"direction": "bidirectional", **({"linear_before_reset": 1} if kind == "GRU" else {})}
    fused = run_kernel(kind, *inputs, outputs=OUTPUTS[kind], **attributes)
    inputs[4] = np.full(BATCH, STEPS, np.int32)
    looped = run_kernel(kind, *inputs, outputs=OUTPUTS[kind], **attributes)

    for one, other in zip(fused, looped, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lengths", [False, True])
def test_the_layout_with_batch_first_is_the_same_transposed(lengths: bool) -> None:
    inputs = _inputs("LSTM", states=True, lengths=lengths)
    expected = run_kernel("LSTM", *inputs, outputs=3)
    for place in (0, 5, 6):
        inputs[place] = np.swapaxes(np.asarray(inputs[place]), 0, 1)
    y, hidden, cell = run_kernel("LSTM", *inputs, outputs=3, layout=1)

    np.testing.assert_allclose(y, expected[0].transpose(2, 0, 1, 3), rtol=1e-6)
    np.testing.assert_allclose(hidden, expected[1].swapaxes(0, 1), rtol=1e-6)
    np.testing.assert_allclose(cell, expected[2].swapaxes(0, 1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_biases_may_be_absent(kind: str) -> None:
    inputs = _inputs(kind)
    inputs[3] = None
    _check(kind, inputs)
    inputs[4] = np.array([5, 1, 3], np.int32)
    _check(kind, inputs)


def test_a_gru_without_biases_may_reset_late() -> None:
    inputs = _inputs("GRU", lengths=True)
    inputs[3] = None

    _check("GRU", inputs, linear_before_reset=1)


def test_the_number_of_steps_and_the_batch_may_change_from_call_to_call() -> None:
    kernel = kernel_of("LSTM", inputs=4, outputs=3)
    inputs = _inputs("LSTM")
    for steps, batch in ((5, 3), (2, 1)):
        cut = [np.asarray(inputs[0])[:steps, :batch], *inputs[1:4]]
        expected = run_onnxruntime("LSTM", *cut, outputs=3, hidden_size=HIDDEN)
        ours = kernel(*_tensors(cut))
        np.testing.assert_allclose(ours[0].numpy(), expected[0], rtol=1e-4, atol=1e-5)


def _tensors(arrays: list[Any]) -> list[Any]:
    import torch

    return [torch.from_numpy(np.array(array)) for array in arrays]


def test_an_unknown_activation_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match="RNN `rnn` has the activation `Gelu`") as caught:
        kernel_of("RNN", inputs=3, activations=["Gelu"])
    assert "Tanh" in str(caught.value.hint)


def test_an_unknown_direction_is_refused_by_name() -> None:
    with pytest.raises(OperatorError, match="GRU `gru` runs `sideways`"):
        kernel_of("GRU", inputs=3, direction="sideways")

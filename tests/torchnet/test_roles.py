from typing import Any

import numpy as np
import pytest
from parsed_graphs import parse

from compress.torchnet.roles import trainable_initializers


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def trained(text: str, **initializers: Any) -> set[str]:
    return set(trainable_initializers(parse(text, **initializers).graph.graph))


def test_weights_of_convolutions_and_normalisations_are_trained_but_not_statistics() -> None:
    text = """g (float[n,3,8,8] x) => (float[n,4,6,6] y) {
      c = Conv(x, w, b) y = BatchNormalization(c, scale, shift, mean, variance)
    }"""
    four = {name: floats(4) for name in ("b", "scale", "shift", "mean", "variance")}
    assert trained(text, w=floats(4, 3, 3, 3), **four) == {"w", "b", "scale", "shift"}


def test_bounds_resize_scales_and_paddings_are_not_trained() -> None:
    text = """g (float[n,1,4,4] x) => (float[n,1,m,k] y) {
      c = Clip(x, low, high) r = Resize(c, , scales) y = Pad(r, pads, value)
    }"""
    constants = {"low": np.float32(0), "high": np.float32(6), "scales": np.array([1, 1, 2, 2], np.float32)}
    assert trained(text, **constants, pads=np.zeros(8, np.int64), value=np.float32(0)) == set()


@pytest.mark.parametrize(
    "carried",
    [
        "v = Transpose <perm = [1, 0]> (w)",
        "v = Cast <to = 1> (w)",
        "v = Reshape(w, shape)",
        "t = Identity(w) v = Unsqueeze(t, shape)",
        "q = QuantizeLinear(w, scale, zero) v = DequantizeLinear(q, scale, zero)",
        "v = Concat <axis = 0> (other, w)",
    ],
)
def test_a_weight_counts_through_what_only_carries_it(carried: str) -> None:
    found = trained(
        f"g (float[n,4] x) => (float[n,4] y) {{ {carried} y = MatMul(x, v) }}",
        w=floats(4, 4), other=floats(4, 4), shape=np.array([4, 4]), scale=np.float32(0.1), zero=np.int8(0),
    )  # fmt: skip
    assert "w" in found
    assert found <= {"w", "other"}


def test_a_bias_written_as_arithmetic_is_trained_and_a_scalar_is_not() -> None:
    text = "g (float[n,4] x) => (float[n,4] y) { m = MatMul(x, w) b = Add(m, bias) s = Mul(b, gain) y = Mul(s, half) }"
    constants = {"w": floats(4, 4), "bias": floats(4), "gain": floats(1, 4), "half": np.float32(0.5)}
    assert trained(text, **constants) == {"w", "bias", "gain"}


def test_the_normalisation_of_an_input_is_not_trained() -> None:
    text = "g (float[n,3,2,2] x) => (float[n,3,2,2] y) { c = Cast <to = 1> (x) s = Sub(c, mean) y = Div(s, deviation) }"
    assert trained(text, mean=floats(3, 1, 1), deviation=floats(3, 1, 1)) == set()


def test_embeddings_of_tokens_and_places_are_trained_and_an_attention_mask_is_not() -> None:
    text = """g (int64[n,4] i) => (float[n,4,8] y) {
      e = Gather(table, i) p = Add(e, places) t = Tanh(p) q = MatMul(t, w) m = Add(q, mask) y = MatMul(m, v)
    }"""
    mask = np.triu(np.full((4, 8), -3.4e38, np.float32))
    weights = {"table": floats(9, 8), "places": floats(1, 4, 8), "w": floats(8, 8), "v": floats(8, 8)}
    assert trained(text, **weights, mask=mask) == set(weights)


def test_tables_of_sines_and_anchors_are_not_trained() -> None:
    text = """g (float[n,4,8] x, int64[n] p) => (float[n,4,8] y) {
      q = MatMul(x, w) c = Gather(cosines, p) r = Mul(q, c) s = Mul(r, sines) y = Add(s, anchors)
    }"""
    tables = {"cosines": floats(9, 8), "sines": floats(1, 4, 8), "anchors": floats(1, 4, 8)}
    assert trained(text, w=floats(8, 8), **tables) == {"w"}


def test_recurrent_weights_are_trained_and_first_states_are_not() -> None:
    text = "g (float[s,n,4] x) => (float[s,1,n,3] y) { y = GRU <hidden_size = 3> (x, w, r, b, , h) }"
    states = {"w": floats(1, 9, 4), "r": floats(1, 9, 3), "b": floats(1, 18), "h": floats(1, 2, 3)}
    assert trained(text, **states) == {"w", "r", "b"}


def test_chains_of_concatenations_are_followed_only_once() -> None:
    chain = " ".join(f"c{index + 1} = Concat <axis = 0> (c{index}, c{index})" for index in range(60))
    text = f"g (float[n,2] x) => (float[n,m] y) {{ c0 = Identity(w) {chain} y = MatMul(x, c60) }}"
    assert trained(text, w=floats(2, 2)) == {"w"}

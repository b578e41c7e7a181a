import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from compress.data.samples import Array, Batch
from compress.errors import CompressError, DataError
from compress.measure.fidelity import FidelityMeter, compare_outputs

FLOATS = arrays.arrays(np.float32, (6, 4), elements=st.floats(-100, 100, width=32))


def meter(first: dict[str, Array], second: dict[str, Array], size: int) -> FidelityMeter:
    made = FidelityMeter()
    made.add(first, second, size)
    return made


@settings(deadline=None, max_examples=60, derandomize=True)
@given(FLOATS, FLOATS, st.integers(1, 5))
def test_adding_in_pieces_is_the_same_as_adding_at_once(a: Array, b: Array, cut: int) -> None:
    whole = meter({"y": a}, {"y": b}, 6).result()
    pieces = FidelityMeter()
    pieces.add({"y": a[:cut]}, {"y": b[:cut]}, cut)
    pieces.add({"y": a[cut:]}, {"y": b[cut:]}, 6 - cut)
    found = pieces.result()
    assert (found.agreement, found.max_abs_error, found.samples) == (whole.agreement, whole.max_abs_error, 6)
    assert (found.sqnr_db is None) == (whole.sqnr_db is None)
    if whole.sqnr_db is not None:
        assert found.sqnr_db == pytest.approx(whole.sqnr_db)


def test_sqnr_is_ten_times_the_logarithm_of_the_power_ratio() -> None:
    found = meter({"y": np.array([[3.0, 4.0]])}, {"y": np.array([[3.0, 4.5]])}, 1).result()
    assert found.sqnr_db == pytest.approx(20.0)
    assert (found.max_abs_error, found.agreement) == (0.5, 1.0)


def test_sqnr_of_a_signal_of_zeros_is_very_low_and_finite() -> None:
    found = meter({"y": np.zeros((1, 2))}, {"y": np.ones((1, 2))}, 1).result()
    assert found.sqnr_db is not None
    assert -4000 < found.sqnr_db < -3000


def test_a_sample_agrees_only_where_every_classifying_output_does() -> None:
    one = np.array([[0.0, 1.0], [1.0, 0.0]])
    other = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert meter({"a": one, "b": one}, {"a": one, "b": other}, 2).result().agreement == 0.5


@pytest.mark.parametrize("shape", [(2, 1), (2,), (2, 3, 4)])
def test_outputs_that_are_no_classes_have_no_agreement(shape: tuple[int, ...]) -> None:
    assert meter({"y": np.ones(shape)}, {"y": np.ones(shape)}, 2).result().agreement is None


def test_integer_outputs_do_not_count_and_bfloat16_ones_do() -> None:
    first: dict[str, Array] = {"ids": np.array([1, 2]), "y": np.array([1.0, 1.0], ml_dtypes.bfloat16)}
    second: dict[str, Array] = {"ids": np.array([7, 9]), "y": np.array([1.0, 1.5], ml_dtypes.bfloat16)}
    assert meter(first, second, 2).result().max_abs_error == 0.5


def test_other_names_or_shapes_are_refused_with_both_sides() -> None:
    with pytest.raises(CompressError, match=r"the outputs \['a'\], the compressed engine has \['b'\]"):
        meter({"a": np.ones((1, 2))}, {"b": np.ones((1, 2))}, 1)
    with pytest.raises(
        CompressError, match=r"`a` is \[1, 2\] from the original model and \[1, 3\] from the compressed"
    ):
        meter({"a": np.ones((1, 2))}, {"a": np.ones((1, 3))}, 1)


def test_compare_outputs_names_its_two_sides_and_marks_made_up_samples() -> None:
    batches = [Batch({"x": np.ones((2, 3))}, None), Batch({"x": np.zeros((1, 3))}, None)]
    found = compare_outputs(lambda f: {"y": f["x"]}, lambda f: {"y": np.add(f["x"], 0.25)}, batches, synthetic=True)
    assert (found.samples, found.max_abs_error, found.synthetic) == (3, 0.25, True)
    with pytest.raises(CompressError, match="the exported graph gives inf in output `y` for sample 0"):
        compare_outputs(lambda f: {"y": f["x"]}, lambda f: {"y": np.add(f["x"], np.inf)}, batches)


def test_comparing_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        compare_outputs(lambda f: f, lambda f: f, [])


def test_a_scalar_that_is_not_finite_is_named_too() -> None:
    with pytest.raises(CompressError, match="gives nan in output `loss` for sample 0"):
        meter({"loss": np.array(np.nan)}, {"loss": np.array(1.0)}, 1)

"""Binding samples to a model, making samples up, limiting sets, comparing sets."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_reading import join

from compress.data.binding import bind_samples
from compress.data.overlap import count_overlap
from compress.data.recipes import load_samples
from compress.data.samples import Array, Batch, SampleSet
from compress.data.subset import PickedSamples, take
from compress.data.synthetic import DYNAMIC_SIZE, synthesize
from compress.errors import DataError
from compress.model import TensorSpec

IMAGE = TensorSpec("image", "float32", ("batch", 1, 4, 4))


def load_arrays(folder: Path, **arrays: Array) -> SampleSet:
    np.savez(folder / "set.npz", allow_pickle=False, **arrays)
    return load_samples("set.npz", base=folder)


def test_the_only_input_needs_no_name(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 1, 4, 4))
    bound = bind_samples(load_arrays(tmp_path, whatever=values, y=np.arange(5)), (IMAGE,))
    batch = join(bound, 2)
    assert batch.inputs["image"].dtype == np.float32
    np.testing.assert_array_equal(batch.inputs["image"], values.astype(np.float32))
    assert batch.labels is not None
    assert bound.specs == (IMAGE,)
    assert (bound.name, len(bound), bound.labelled, bound.synthetic) == ("set.npz", 5, True, False)
    assert bound.digest() == bound.samples.digest()


def test_several_inputs_are_matched_by_name(tmp_path: Path) -> None:
    samples = load_arrays(tmp_path, ids=np.ones((3, 7), np.int32), mask=np.zeros((3, 7), bool))
    inputs = (TensorSpec("mask", "bool", ("batch", "seq")), TensorSpec("ids", "int64", ("batch", "seq")))
    batch = join(bind_samples(samples, inputs))
    assert list(batch.inputs) == ["mask", "ids"]
    assert batch.inputs["ids"].dtype == np.int64


def test_missing_and_left_over_inputs_are_named(tmp_path: Path) -> None:
    samples = load_arrays(tmp_path, ids=np.ones((3, 7), np.int64), msk=np.ones((3, 7), np.int64))
    inputs = tuple(TensorSpec(name, "int64", ("batch", "seq")) for name in ("ids", "mask"))
    with pytest.raises(DataError, match="does not fit the model's inputs: no `mask`, `msk` left over") as caught:
        bind_samples(samples, inputs)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("The model takes `ids`, `mask`, the samples hold `ids`, `msk`")


@pytest.mark.parametrize(
    ("have", "want", "hint"),
    [
        ((4, 4, 1), (1, 4, 4), 'to = "chw"'),
        ((4, 4), (1, 4, 4), 'to = "add-channel"'),
        ((1, 5, 5), (1, 4, 4), "`resize`"),
        ((16,), (1, 4, 4), "Save the samples in the model's shape"),
        ((1, 4, 4), (), "Save the samples"),
    ],
)
def test_a_shape_that_does_not_fit_names_both_and_hints(
    have: tuple[int, ...], want: tuple[int, ...], hint: str, tmp_path: Path
) -> None:
    samples = load_arrays(tmp_path, x=np.zeros((2, *have), np.float32))
    with pytest.raises(DataError) as caught:
        bind_samples(samples, (TensorSpec("image", "float32", ("batch", *want)),))
    assert f"sample 0 of `set.npz` does not fit input `image`: it is {list(have)}" in caught.value.message
    assert "[batch" in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_scalar_input_fits_no_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not fit input `t`"):
        bind_samples(load_arrays(tmp_path, t=np.zeros(2, np.float32)), (TensorSpec("t", "float32", ()),))


def test_one_named_dimension_has_one_size(tmp_path: Path) -> None:
    samples = load_arrays(tmp_path, ids=np.ones((3, 7), np.int64), mask=np.ones((3, 8), np.int64))
    inputs = tuple(TensorSpec(name, "int64", ("batch", "seq")) for name in ("ids", "mask"))
    with pytest.raises(DataError, match="disagree on `seq`: 7 in input `ids`, 8 in `mask`"):
        bind_samples(samples, inputs)


@pytest.mark.parametrize(
    ("have", "want", "hint"),
    [
        ("uint8", "float32", 'kind = "scale"'),
        ("float32", "int64", 'kind = "cast", to = "int64"'),
        ("int64", "int32", 'kind = "cast", to = "int32"'),
        ("bool", "float32", "cast"),
        ("float32", "bool", "cast"),
        ("uint8", "bfloat16", "scale"),
    ],
)
def test_unsafe_conversions_are_refused(have: str, want: str, hint: str, tmp_path: Path) -> None:
    samples = load_arrays(tmp_path, x=np.zeros((2, 3), have))
    with pytest.raises(DataError, match=f"samples of `set.npz` are {have}, input `x` is {want}: no safe") as caught:
        bind_samples(samples, (TensorSpec("x", want, ("batch", 3)),))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("float64", "float32"),
        ("float32", "float16"),
        ("int32", "int64"),
        ("uint8", "int32"),
        ("bool", "int64"),
        ("float32", "bfloat16"),
    ],
)
def test_safe_conversions_keep_the_values(have: str, want: str, tmp_path: Path) -> None:
    samples = load_arrays(tmp_path, x=np.array([[0, 1], [1, 1]], have))
    batch = join(bind_samples(samples, (TensorSpec("x", want, ("batch", 2)),)))
    assert batch.inputs["x"].dtype.name == want
    assert batch.inputs["x"].astype(np.float32).tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_value_that_is_not_finite_is_found_in_any_batch(bad: float, size: int, tmp_path: Path) -> None:
    values = np.zeros((9, 1, 4, 4))
    values[6, 0, 1, 2] = values[8, 0, 0, 0] = bad
    bound = bind_samples(load_arrays(tmp_path, x=values), (IMAGE,))
    with pytest.raises(DataError) as caught:
        join(bound, size)
    assert caught.value.message == (
        "sample 6 of `set.npz`: 1 of 16 values of input `image` are NaN or infinite as float32"
    )


def test_made_up_samples_fit_and_repeat() -> None:
    inputs = (
        TensorSpec("image", "float32", ("batch", 3, "height", 5)),
        TensorSpec("ids", "int64", ("batch", "seq")),
        TensorSpec("half", "float16", (1, 2)),
        TensorSpec("mask", "bool", ("batch", 4)),
    )
    samples = synthesize(inputs, 6, seed=1)
    assert (samples.synthetic, samples.labelled, len(samples), samples.name) == (True, False, 6, "synthetic")
    batch = join(samples, 4)
    assert batch.inputs["image"].shape == (6, 3, DYNAMIC_SIZE, 5)
    assert set(np.unique(batch.inputs["ids"]).tolist()) == {0, 1}
    assert (batch.inputs["ids"][:, 0] == 1).all()
    assert abs(float(batch.inputs["image"].mean())) < 0.1
    assert [spec.dtype for spec in samples.specs] == ["float32", "int64", "float16", "bool"]
    again = synthesize(inputs, 6, seed=1)
    for name, values in join(again, 5).inputs.items():
        np.testing.assert_array_equal(values, batch.inputs[name])
    assert samples.digest() == again.digest()
    assert samples.digest() != synthesize(inputs, 6, seed=2).digest()
    assert len(samples.sample_digests()) == 6
    assert bind_samples(samples, inputs).synthetic


def test_what_cannot_be_made_up_is_named() -> None:
    with pytest.raises(DataError, match="input `t` is a single number"):
        synthesize((TensorSpec("t", "float32", ()),), 2, seed=0)
    with pytest.raises(DataError, match="samples of type complex64"):
        synthesize((TensorSpec("t", "complex64", ("batch",)),), 2, seed=0)


class Plain:
    """A sample set that knows no shortcut."""

    def __init__(self, inner: SampleSet) -> None:
        self._inner = inner
        self.name, self.specs, self.labelled, self.synthetic = inner.name, inner.specs, inner.labelled, False
        self.digest, self.sample_digests, self.batches = inner.digest, inner.sample_digests, inner.batches

    def __len__(self) -> int:
        return len(self._inner)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 9), st.booleans())
def test_taking_some_spreads_them_evenly(
    tmp_path_factory: pytest.TempPathFactory, total: int, count: int, size: int, plain: bool
) -> None:
    whole = load_arrays(
        tmp_path_factory.mktemp("set"), x=np.arange(total, dtype=np.float64)[:, None], y=np.arange(total)
    )
    bound = bind_samples(whole, (TensorSpec("x", "float32", ("batch", 1)),))
    some = take(Plain(bound) if plain else bound, count)
    assert len(some) == min(count, total)
    batch = join(some, size)
    found = batch.inputs["x"][:, 0].astype(int).tolist()
    assert found == [index * total // len(some) for index in range(len(some))]
    assert batch.labels is not None
    assert batch.labels.tolist() == found
    assert all(len(part) <= size for part in some.batches(size))


def test_a_picked_set_is_a_sample_set_of_its_own(tmp_path: Path) -> None:
    whole = Plain(load_arrays(tmp_path, x=np.arange(6.0)[:, None]))
    some = take(whole, 3)
    assert isinstance(some, PickedSamples)
    assert (some.name, some.specs, some.labelled, some.synthetic) == (whole.name, whole.specs, False, False)
    assert some.sample_digests() < whole.sample_digests()
    assert some.digest() != take(whole, 2).digest()
    assert take(whole, 6) is whole
    with pytest.raises(DataError, match="cannot take 0 samples"):
        take(whole, 0)


def test_samples_are_not_read_to_be_left_out(tmp_path: Path) -> None:
    values = np.zeros((4, 1, 4, 4))
    values[1] = np.nan
    some = take(bind_samples(load_arrays(tmp_path, x=values), (IMAGE,)), 2)
    assert len(join(some).inputs["image"]) == 2


def test_overlap_counts_the_evaluation_samples_that_calibration_saw(tmp_path: Path) -> None:
    values = np.arange(10.0)[:, None]
    sets: dict[str, SampleSet] = {}
    for name, part in {"low": slice(0, 6), "high": slice(4, 10), "rest": slice(6, 10)}.items():
        (tmp_path / name).mkdir()
        sets[name] = load_arrays(tmp_path / name, x=values[part], y=np.arange(len(values[part])))
    spec = (TensorSpec("z", "float32", ("batch", 1)),)
    assert count_overlap(sets["low"], bind_samples(sets["high"], spec)) == 2
    assert count_overlap(sets["low"], sets["rest"]) == 0
    assert count_overlap(sets["low"], sets["low"]) == 6


def test_a_batch_knows_its_length() -> None:
    assert len(Batch({"x": np.zeros((3, 2))}, None)) == 3

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from distill_nets import INPUT, samples
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from compress.data.samples import Batch, SampleSet
from compress.data.subset import PickedSamples
from compress.distill.batches import ShuffledBatches, read_samples, sample_bytes, split_samples
from compress.distill.schedule import learning_rate_factor
from compress.model import TensorSpec


@dataclass
class Watched:
    """A set that counts what it hands out, and cannot leave anything out."""

    samples: SampleSet
    read: list[int] = field(default_factory=list)

    name = "watched"
    labelled = False
    synthetic = True

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return self.samples.specs

    def __len__(self) -> int:
        return len(self.samples)

    def batches(self, size: int) -> Iterator[Batch]:
        for batch in self.samples.batches(size):
            self.read.append(len(batch))
            yield batch

    def digest(self) -> str:
        return self.samples.digest()

    def sample_digests(self) -> frozenset[bytes]:
        return self.samples.sample_digests()


def batches(count: int, batch: int, bound: int, place: tuple[int, int] = (0, 1)) -> ShuffledBatches:
    return ShuffledBatches(samples(count), np.arange(count), batch, 0, bound, place)


@trying(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(8, 40), st.integers(1, 8), st.integers(1, 40 * 32), st.integers(0, 2))
def test_an_epoch_has_every_sample_at_most_once_and_windows_give_what_the_whole_gives(
    count: int, batch: int, bound: int, epoch: int
) -> None:
    whole, windowed = batches(count, batch, 2**20), batches(count, batch, bound)
    seen: list[int] = []
    for step in range(epoch * whole.per_epoch, (epoch + 1) * whole.per_epoch):
        one, other = whole.at(step), windowed.at(step)
        seen += one.positions.tolist()
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.inputs["x"], other.inputs["x"])
    assert len(seen) == len(set(seen)) == count // batch * batch


@trying(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(0, 30))
def test_processes_share_a_batch_without_gaps(count: int, step: int) -> None:
    alone = batches(40, 12, 2**20).at(step)
    parts = (
        [batches(40, 12, 2**20, (rank, count)).at(step).positions for rank in range(count)] if 12 % count == 0 else []
    )
    if parts:
        assert sorted(np.concatenate(parts).tolist()) == sorted(alone.positions.tolist())


def test_any_step_can_be_asked_for_first() -> None:
    one, other = batches(30, 4, 2**20), batches(30, 4, 2**20)
    for step in range(20):
        one.at(step)
    np.testing.assert_array_equal(one.at(20).inputs["x"], other.at(20).inputs["x"])


def test_what_is_held_stays_within_the_bound() -> None:
    bound = 10 * sample_bytes((INPUT,))
    made = batches(100, 4, bound)
    for step in range(25):
        made.at(step)
        assert made._held is not None
        assert made._held[1].inputs["x"].nbytes <= bound


def test_a_set_that_fits_is_read_once_and_one_that_does_not_once_a_window() -> None:
    counts = []
    for bound in (2**20, 8 * sample_bytes((INPUT,))):
        watched = Watched(samples(32))
        made = ShuffledBatches(watched, np.arange(32), 4, 0, bound, (0, 1))
        for step in range(16):
            made.at(step)
        counts.append(sum(watched.read))
    assert counts == [32, 32 * 2 * 4]


def test_labels_come_with_their_samples() -> None:
    class Labelled(Watched):
        labelled = True

        def batches(self, size: int) -> Iterator[Batch]:
            for batch in super().batches(size):
                yield Batch(batch.inputs, batch.inputs["x"][:, 0])

    picked = read_samples(Labelled(samples(20)), np.array([2, 5, 11])).pick(np.array([11, 2]))
    assert picked.labels is not None
    np.testing.assert_array_equal(picked.labels, picked.inputs["x"][:, 0])
    assert isinstance(PickedSamples(samples(4), (0, 2)), PickedSamples)


@pytest.mark.parametrize(("count", "share", "held"), [(8, 0.1, 2), (100, 0.25, 25), (1000, 0.1, 100)])
def test_the_split_is_seeded_and_complete(count: int, share: float, held: int) -> None:
    training, judging = split_samples(samples(count), share, seed=0)
    assert sorted([*training, *judging]) == list(range(count))
    assert len(judging) == held
    assert split_samples(samples(count), share, seed=1)[1].tolist() != judging.tolist()


def test_the_learning_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    at = [learning_rate_factor(share, 0.1, 0.2) for share in (0.0, 0.05, 0.1, 0.55, 1.0)]
    assert at == pytest.approx([0.0, 0.5, 1.0, 0.6, 0.2])
    assert learning_rate_factor(0.0, 0.0, 0.0) == 1.0

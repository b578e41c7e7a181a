"""How near a model's outputs are to the teacher's, on samples that no training sees."""

from collections.abc import Sequence
from dataclasses import dataclass

from compress.data.samples import Batch, SampleSet
from compress.data.subset import narrow, take
from compress.distill.batches import LEAST_SAMPLES, split_samples
from compress.measure.fidelity import Outputs, compare_outputs
from compress.model import Model
from compress.report.record import Fidelity
from compress.runtimes import open_graph
from compress.runtimes.batching import fixed_batch, in_batches

_BATCH = 16


@dataclass(frozen=True, slots=True)
class Judge:
    """Samples with the teacher's outputs; they are held in memory, so there are not many."""

    batches: Sequence[Batch]
    outputs: Sequence[Outputs]
    threads: int

    def fidelity(self, model: Model) -> Fidelity:
        """Return how near a model with the teacher's interface is."""
        known = iter(self.outputs)
        with open_graph(model.to_bytes(), threads=self.threads) as session:
            run = in_batches(session, model).run
            names = ("the original model", "the pruned model")
            return compare_outputs(lambda _: next(known), run, self.batches, names=names)

    def damage(self, model: Model) -> float:
        """Return the error of the outputs relative to the teacher's, Σ(t - s)² / Σt²: 0 where they are equal."""
        sqnr = self.fidelity(model).sqnr_db
        return 0.0 if sqnr is None else float(10 ** (-sqnr / 10))


def make_judge(teacher: Model, samples: SampleSet, share: float, count: int, *, seed: int, threads: int) -> Judge:
    """Return a judge of at most ``count`` of the samples that a training with the same share and seed holds out.

    Of fewer samples than any training takes, all are used.
    """
    if len(samples) >= LEAST_SAMPLES:
        samples = narrow(samples, [int(position) for position in split_samples(samples, share, seed)[1]])
    batches = tuple(take(samples, min(count, len(samples))).batches(fixed_batch(teacher) or _BATCH))
    with open_graph(teacher.to_bytes(), threads=threads) as session:
        run = in_batches(session, teacher).run
        return Judge(batches, tuple(run(batch.inputs) for batch in batches), threads)

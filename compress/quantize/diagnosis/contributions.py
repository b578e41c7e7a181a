"""What each layer adds to the error of the model's outputs: alone in INT8, and alone in float."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from compress.data.samples import Batch
from compress.measure.fidelity import Outputs, compare_outputs
from compress.model import Model
from compress.quantize.layers import FloatConstants, Layer, keep_float, unquantize
from compress.runtimes import open_graph
from compress.runtimes.batching import in_batches
from compress.targets import DialectName

Clock = Callable[[], float]
_NAMES = ("the original model", "the quantized model")


@dataclass(frozen=True, slots=True)
class Contributions:
    """What was measured before the time was over; layers that nobody got to are not there.

    Attributes:
        whole: SQNR of the outputs of the whole quantized model in dB; None where it is exact.
        alone: SQNR in dB with one layer quantized and the rest float; None where that changes nothing.
        kept: By how many dB the SQNR rises with nothing quantized at one layer (inputs, weight, output) and the rest as
            it is; None where one of the two is exact.
        complete: Whether every layer was measured.
    """

    whole: float | None
    alone: Mapping[str, float | None] = field(default_factory=dict)
    kept: Mapping[str, float | None] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs variants of a quantized model on some samples, Q/DQ as they are written, and compares their outputs.

    Attributes:
        dialect: Of the model.
        constants: Float weights and biases of its layers.
        batches: A few samples.
        threads: Of the sessions.
    """

    dialect: DialectName
    constants: FloatConstants
    batches: Sequence[Batch]
    threads: int

    def outputs(self, model: Model) -> tuple[Outputs, ...]:
        """Return what a model gives for every batch."""
        with open_graph(model.to_bytes(), threads=self.threads, simulate=True) as session:
            run = in_batches(session, model).run
            return tuple(run(batch.inputs) for batch in self.batches)

    def sqnr_db(self, model: Model, reference: Sequence[Outputs]) -> float | None:
        """Return how near a model's outputs are to the reference, in dB; None where they are equal."""
        known, own = iter(reference), iter(self.outputs(model))
        return compare_outputs(lambda _: next(known), lambda _: next(own), self.batches, names=_NAMES).sqnr_db

    def without(self, model: Model, names: Iterable[str]) -> Model:
        """Return the model with these layers in float."""
        return keep_float(model, frozenset(names), self.constants, self.dialect)


def measure_contributions(
    model: Model,
    original: Model,
    layers: Sequence[Layer],
    bench: Bench,
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Contributions:
    """Return what each layer contributes, in the order of ``layers`` until the time is over.

    Args:
        model: The quantized model.
        original: What its outputs are compared with.
        layers: The most suspicious first.
        bench: Samples and sessions.
        seconds: Time that may be spent; the layer at hand is finished.
        clock: Seconds; tests give their own.
        progress: Called with layers done and layers in all.
    """
    start = clock()
    names = [layer.name for layer in layers]
    reference = bench.outputs(original)
    whole = bench.sqnr_db(model, reference)
    twin = bench.outputs(bench.without(model, names))
    alone: dict[str, float | None] = {}
    kept: dict[str, float | None] = {}
    for number, name in enumerate(names):
        if clock() - start >= seconds:
            break
        others = [other for other in names if other != name]
        alone[name] = bench.sqnr_db(bench.without(model, others), twin)
        after = bench.sqnr_db(unquantize(model, name, bench.constants), reference)
        kept[name] = None if after is None or whole is None else after - whole
        progress(number + 1, len(names))
    return Contributions(whole, alone, kept, len(alone) == len(names))

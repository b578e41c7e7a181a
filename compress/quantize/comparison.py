"""How near a quantized model's outputs are to the original's, on this machine's ONNX Runtime."""

import math

from compress.data.samples import SampleSet
from compress.measure.fidelity import compare_outputs
from compress.model import Model
from compress.report.record import Fidelity
from compress.runtimes import open_graph
from compress.runtimes.batching import fixed_batch, in_batches
from compress.steps import StepContext

_BATCH = 16


def compare_to_original(original: Model, quantized: Model, samples: SampleSet, context: StepContext) -> Fidelity:
    """Return how near a quantized model comes to the float model that it was made from.

    A graph for another runtime is computed as it is written, in float: what it means.
    """
    simulate = context.target.runtime != "onnxruntime"
    with (
        in_batches(open_graph(original.to_bytes(), threads=context.threads), original) as first,
        in_batches(open_graph(quantized.to_bytes(), threads=context.threads, simulate=simulate), original) as second,
    ):
        return compare_outputs(first.run, second.run, samples.batches(fixed_batch(original) or _BATCH))


def decibels(found: Fidelity) -> float:
    """Return the SQNR, infinite for equal outputs."""
    return math.inf if found.sqnr_db is None else found.sqnr_db

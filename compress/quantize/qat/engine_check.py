"""Whether the integer engine does what training saw: it, the fake-quantized net and the original, compared."""

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import nn

from compress.data.samples import Array, SampleSet
from compress.distill.tensors import to_tensors
from compress.measure.fidelity import Run, compare_outputs
from compress.model import JsonValue, Model
from compress.report.record import Fidelity
from compress.runtimes import open_graph
from compress.runtimes.batching import fixed_batch, in_batches
from compress.steps import StepContext

_BATCH = 16
_NAMES = ("the original", "the quantized model")


def compare_engines(
    context: StepContext, samples: SampleSet, *, before: Model, after: Model, student: nn.Module
) -> dict[str, JsonValue]:
    """Return fidelities on held-out samples, in plain values; the engines run on this machine's ONNX Runtime.

    A graph for another runtime is computed as it is written, in float: what it means.

    Args:
        context: Of the step.
        samples: That training never saw.
        before: The quantized model that training was given.
        after: The trained one.
        student: What was trained.
    """
    names = [spec.name for spec in context.original.outputs]

    def run_student(feed: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            found = student(to_tensors(feed, torch.device("cpu")))
        return {name: found[name].numpy() for name in names}

    def compare(first: Run, second: Run) -> Fidelity:
        return compare_outputs(first, second, samples.batches(fixed_batch(context.original) or _BATCH), names=_NAMES)

    student.eval()
    simulate = context.target.runtime != "onnxruntime"
    with ExitStack() as stack:
        original, first, last = (
            stack.enter_context(
                in_batches(open_graph(graph.to_bytes(), threads=context.threads, simulate=simulated), context.original)
            )
            for graph, simulated in ((context.original, False), (before, simulate), (after, simulate))
        )
        return {
            **_describe("before", compare(original.run, first.run)),
            **_describe("after", compare(original.run, last.run)),
            **_describe("fake_quantized", compare(original.run, run_student)),
            **_describe("engine_to_fake_quantized", compare(run_student, last.run)),
        }


def _describe(what: str, found: Fidelity) -> dict[str, JsonValue]:
    return {f"sqnr_db_{what}": found.sqnr_db, f"agreement_{what}": found.agreement}

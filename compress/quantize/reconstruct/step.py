"""The step `reconstruct`: block by block, the rounding of weights is learned from what the float model gives."""

import logging
import math
import time
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from compress.data.samples import SampleSet
from compress.data.subset import narrow, take
from compress.distill.batches import split_samples
from compress.errors import ModelError
from compress.model import JsonValue, Model
from compress.quantize.comparison import compare_to_original, decibels
from compress.quantize.dialects import DIALECTS
from compress.quantize.layers import recall_unquantized, remember_unquantized
from compress.quantize.reconstruct.blocks import Block, find_blocks
from compress.quantize.reconstruct.learn import Learned, learn_block
from compress.quantize.reconstruct.settings import ReconstructSettings
from compress.quantize.reconstruct.values import collect
from compress.quantize.static import check_quantized
from compress.runtimes.batching import fixed_batch
from compress.steps import StepContext, StepResult
from compress.torchnet.threads import using_threads

__all__ = ["ReconstructSettings", "reconstruct"]

_BATCH = 16

log = logging.getLogger("compress")


def reconstruct(model: Model, settings: ReconstructSettings, context: StepContext) -> StepResult:
    """Return the quantized model with weights that are rounded so that its blocks give what the float model's give.

    Each block reads what the quantized blocks before it give, in the runtime's integer kernels, and learns to give what
    the float model gives there. What was learned is kept where it is better on held-out samples, block by block, and in
    the end as a whole. Nodes stay as they are; no labels are needed.

    Raises:
        ModelError: The model is not quantized, or the float graph that it was made from is not known.
        OperatorError: A block cannot be run in PyTorch.
        DataError: Too few samples.
    """
    dialect = DIALECTS[context.target.dialect]
    original = _recall(model, context)
    blocks = find_blocks(
        model,
        context.target.dialect,
        least=settings.layers,
        most=1 if settings.granularity == "layer" else settings.largest_block,
    )
    samples = take(context.calibration, settings.samples)
    parts = [
        narrow(samples, list(map(int, found)))
        for found in split_samples(samples, settings.held_out_share, context.seed)
    ]
    with using_threads(context.threads):
        learned, records = _learn(model, original, blocks, parts, settings, context)
    before, after = (compare_to_original(original, candidate, parts[1], context) for candidate in (model, learned))
    better = decibels(after) > decibels(before)
    result = learned if better else model
    check_quantized(result, dialect)
    remember_unquantized(context.store, result, original.copy_graph())
    metrics: Mapping[str, JsonValue] = {
        "granularity": settings.granularity,
        "blocks": len(blocks),
        "blocks_learned": len(records),
        "blocks_better": sum(record.after < record.before for record in records),
        "weights_rounded_otherwise": sum(record.changed for record in records if record.after < record.before),
        "held_out_samples": len(parts[1]),
        "sqnr_db_before": before.sqnr_db,
        "sqnr_db_after": after.sqnr_db,
        "kept": better,
    }
    return StepResult(result, metrics)


def _recall(model: Model, context: StepContext) -> Model:
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.graph):
        raise ModelError(
            "nothing to round: the model is not quantized",
            hint='let `quantize` come before `reconstruct`: steps = ["quantize", "reconstruct"]',
        )
    found = recall_unquantized(context.store, model)
    if found is None:
        raise ModelError(
            "the float graph that this INT8 model was made from is not known",
            hint='let `reconstruct` come right after `quantize`: steps = ["quantize", "reconstruct"]',
        )
    return found


def _learn(
    model: Model,
    original: Model,
    blocks: Sequence[Block],
    parts: Sequence[SampleSet],
    settings: ReconstructSettings,
    context: StepContext,
) -> tuple[Model, list[Learned]]:
    """Return the model with its blocks learned one after the other, and what came of each that time allowed."""
    budget = settings.time_budget_seconds
    deadline = time.perf_counter() + budget if budget else math.inf
    size = fixed_batch(model) or _BATCH
    feeds = [[batch.inputs for batch in part.batches(size)] for part in parts]
    shares = [len(part) / sum(map(len, parts)) for part in parts]
    records = []
    for number, block in enumerate(blocks):
        if time.perf_counter() > deadline:
            log.info("reconstruct: out of time after %d of %d blocks", number, len(blocks))
            break
        values = tuple(
            collect(
                block, model, original, part,
                threads=context.threads,
                simulate=context.target.runtime != "onnxruntime",
                most=round(share * settings.memory_megabytes * 1e6),
            )
            for part, share in zip(feeds, shares, strict=True)
        )  # fmt: skip
        piece = block.cut_out(model)
        learned = learn_block(
            piece, original, DIALECTS[context.target.dialect], (values[0], values[1]), settings,
            shared=_shared_scales(model, piece), seed=context.seed + number, deadline=deadline,
        )  # fmt: skip
        records.append(learned)
        log.info("reconstruct: %s: error %.3g to %.3g", block.outputs[0], learned.before, learned.after)
        if learned.after < learned.before:
            model = _with_constants(model, learned.piece)
        context.progress("reconstruct", number + 1, len(blocks))
    return model, records


def _shared_scales(model: Model, piece: Model) -> frozenset[str]:
    """Return the scales of activations that others use too, or that quantize what the block is given.

    What bounds a value is in front of it, so the range of what comes from outside is not this block's to change.
    """
    given = {spec.name for spec in piece.inputs}
    inside = [node for node in piece.graph.graph if node.op_type == "QuantizeLinear"]
    everywhere = [node for node in model.graph.graph if node.op_type == "QuantizeLinear"]
    names = {_input(node, 1) for node in inside if _input(node, 0) in given}
    counts = [[_input(node, 1) for node in nodes] for nodes in (inside, everywhere)]
    return frozenset(names | {name for name in counts[0] if counts[1].count(name) != counts[0].count(name)})


def _input(node: ir.Node, index: int) -> str:
    value = node.inputs[index]
    return "" if value is None else str(value.name)


def _with_constants(model: Model, piece: Model) -> Model:
    """Return a model with the constants of a piece of it."""
    graph = model.copy_graph()
    for name, value in piece.graph.graph.initializers.items():
        graph.graph.initializers[name].const_value = value.const_value
    return Model.from_ir(graph, model.history)

"""The step ``sparsify``: weights with zeros in a pattern, and a training that gives back what they cost."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator
from pydantic_core import PydanticCustomError

from compress.data.subset import narrow
from compress.distill.batches import split_samples
from compress.distill.choice import DistillSettings
from compress.distill.imitation import imitate, imitation_key
from compress.distill.loop import CheckpointStore
from compress.distill.step import describe_training
from compress.errors import ConfigError, ModelError
from compress.measure.fidelity import compare_outputs
from compress.model import JsonValue, Model
from compress.prune.sparse_update import Choice, SparseUpdate, update_sparse
from compress.prune.sparsity import (
    Allocation,
    Eligible,
    Masks,
    Pattern,
    apply_masks,
    choose_masks,
    constant_of,
    find_eligible,
    read_pattern,
    zero_shares,
)
from compress.runtimes import open_graph
from compress.runtimes.batching import fixed_batch, in_batches
from compress.steps import StepContext, StepResult
from compress.weight_matrices import WeightMatrix

__all__ = ["SparsifySettings", "sparsify"]

_BATCH = 16


class SparsifySettings(DistillSettings):
    """Settings of the step ``sparsify``: which weights become zero, and how the others are trained afterwards.

    The settings of training are those of the step ``distill``.

    Attributes:
        pattern: ``unstructured``; ``N:M``, N of each M input channels stay (``2:4`` is what sparse tensor cores of
            NVIDIA GPUs take); or ``RxC``, blocks of R outputs and C inputs (``1x4``, ``4x1``, ``16x1``).
        ratio: Share of the elements that become zero; ``N:M`` has its own.
        allocation: How the share is distributed: ``uniform`` in each weight, ``global`` by magnitude over all, ``lamp``
            by magnitude that is made comparable between weights.
        exclude: Names of nodes whose weights stay dense, with ``*`` and ``?``.
        min_elements: Smaller weights stay dense.
        update: ``least-squares`` lets the weights that stay make up for the zeros of their layer as well as they can,
            before any training; it costs a minute for a large model.
        choice: Which elements of a weight become zero with ``least-squares``: the smallest (``magnitude``), or those
            that its output misses least while the others make up for them (``error``). ``auto`` takes ``error`` for
            ``N:M``, where each run must lose as many, and ``magnitude`` for anything else.
        steps: Optimizer steps of the recovery, in which zeros stay; 0 leaves the other weights as they are.
    """

    pattern: str = "2:4"
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    allocation: Allocation = "lamp"
    exclude: tuple[str, ...] = ()
    min_elements: NonNegativeInt = 1024
    update: Literal["least-squares", "none"] = "least-squares"
    choice: Choice | Literal["auto"] = "auto"
    steps: NonNegativeInt = 300
    learning_rate: PositiveFloat = 3e-4

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, text: str) -> str:
        try:
            read_pattern(text)
        except ConfigError as error:
            # Unlike a ValueError it is shown without a prefix.
            problem = {"problem": f"{error.message}: {error.hint}"}
            raise PydanticCustomError("sparsify", "{problem}", problem) from None
        return text


def sparsify(model: Model, settings: SparsifySettings, context: StepContext) -> StepResult:
    """Return the model with zeros in its weights; those stay zero in the recovery, and in ``distill`` and ``qat`` too.

    Shapes stay as they are: only a runtime with kernels for the pattern is faster, any file compresses better.

    Raises:
        ModelError: The model is quantized, or no weight fits the pattern.
        CompressError: See :func:`compress.distill.imitation.imitate`.
    """
    pattern = read_pattern(settings.pattern)
    eligible = _find(model, pattern, settings)
    masks = choose_masks(model, eligible.matrices, pattern, ratio=settings.ratio, allocation=settings.allocation)
    sparse = _make_sparse(model, eligible.matrices, masks, settings, context)
    result, learned = _recover(sparse.model, settings, context)
    skipped: dict[str, JsonValue] = dict(eligible.skipped.items())
    updated: dict[str, JsonValue] = {"updated_layers": len(sparse.layers)}
    return StepResult(result, {**_describe(result, eligible.matrices), "skipped": skipped, **updated, **learned})


def _make_sparse(
    model: Model, matrices: Sequence[WeightMatrix], masks: Masks, settings: SparsifySettings, context: StepContext
) -> SparseUpdate:
    if settings.update == "none":
        return SparseUpdate(apply_masks(model, masks), ())
    pattern, choice = read_pattern(settings.pattern), settings.choice
    if choice == "auto":
        choice = "error" if pattern.form == "of" else "magnitude"
    return update_sparse(
        model,
        matrices,
        masks,
        pattern,
        context.calibration,
        threads=context.threads,
        seed=context.seed,
        choice=choice,
        progress=partial(context.progress, "update"),
    )


def _find(model: Model, pattern: Pattern, settings: SparsifySettings) -> Eligible:
    if any(node.op_type == "DequantizeLinear" for node in model.graph.graph):
        raise ModelError(
            "the model is quantized already: rounded weights cannot be made sparse and trained again",
            hint='let `sparsify` come before `quantize`: steps = ["sparsify", "quantize", "qat"]',
        )
    eligible = find_eligible(model, pattern, exclude=settings.exclude, min_elements=settings.min_elements)
    if not eligible.matrices:
        why = "; ".join(f"`{node}` {reason}" for node, reason in list(eligible.skipped.items())[:3])
        raise ModelError(
            f"no weight of this model can have the sparsity pattern {settings.pattern}: {why or 'it has none'}",
            hint="choose another `pattern`, lower `min_elements`, or leave the step out",
        )
    return eligible


def _recover(sparse: Model, settings: SparsifySettings, context: StepContext) -> tuple[Model, dict[str, JsonValue]]:
    """Return the model after training, and its fidelity on samples that training never saw."""
    if not settings.steps:
        return sparse, _compare(sparse, settings, context)
    key = imitation_key(sparse, context.original, context.calibration, settings, context.seed)
    checkpoint = CheckpointStore(context.store.folder / f"training-{key[:32]}", key)
    done = imitate(
        sparse, context.original, context.calibration, settings, seed=context.seed, checkpoint=checkpoint,
        progress=context.progress, threads=context.threads, sparse=True,
    )  # fmt: skip
    checkpoint.clear()
    return done.model, describe_training(done.training)


def _compare(sparse: Model, settings: SparsifySettings, context: StepContext) -> dict[str, JsonValue]:
    _, positions = split_samples(context.calibration, settings.held_out_share, context.seed)
    held_out = narrow(context.calibration, [int(position) for position in positions])
    original = context.original
    with (
        in_batches(open_graph(original.to_bytes(), threads=context.threads), original) as first,
        in_batches(open_graph(sparse.to_bytes(), threads=context.threads), original) as second,
    ):
        batches = held_out.batches(fixed_batch(original) or _BATCH)
        found = compare_outputs(first.run, second.run, batches, names=("the original", "the sparse model"))
    return {
        "steps": 0,
        "held_out_samples": len(held_out),
        "sqnr_db_after": found.sqnr_db,
        "agreement_after": found.agreement,
    }


def _describe(model: Model, matrices: Sequence[WeightMatrix]) -> dict[str, JsonValue]:
    """Return the share of zeros of each sparse weight, of them all, and of all weights of the graph."""
    shares = zero_shares(model, matrices)
    sizes = {matrix.node: constant_of(model, matrix).size for matrix in matrices}
    zeros = sum(shares[node] * size for node, size in sizes.items())
    constants = [value.const_value for value in model.graph.graph.initializers.values()]
    return {
        "layers": dict(shares.items()),
        "zero_share": zeros / sum(sizes.values()),
        "zero_share_of_model": zeros / sum(tensor.size for tensor in constants if tensor is not None),
    }

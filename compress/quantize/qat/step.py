"""The step `qat`: weights and scales of a quantized graph learn together to give the original's outputs."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from compress import __version__
from compress.batch_norm import fold_batch_norm
from compress.data.samples import SampleSet
from compress.data.subset import narrow
from compress.distill.batches import split_samples
from compress.distill.choice import choose_loss
from compress.distill.fixed_batch import FixedBatchNet
from compress.distill.guard import NonFiniteError
from compress.distill.loop import CheckpointStore, ParameterGroup, TrainingResult, train
from compress.distill.zeros import sparsified_nodes
from compress.errors import DataError, ModelError
from compress.model import JsonValue, Model
from compress.quantize.dialects import DIALECTS
from compress.quantize.layers import recall_unquantized
from compress.quantize.qat.engine_check import compare_engines
from compress.quantize.qat.settings import QatSettings
from compress.quantize.qat.student import QuantizedNet
from compress.quantize.static import check_quantized
from compress.steps import StepContext, StepResult
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.threads import using_threads
from compress.weight_matrices import find_matrices, two_of_four

__all__ = ["QatSettings", "train_quantized"]

_STEPS_OF_MEAN = 32
"""Integer steps that the mean size of a weight is worth, as it is in most weights that are quantized."""
_LEAST_MEAN = 0.003
"""Mean size that biases which are all zero are taken to have."""

log = logging.getLogger("compress")


def train_quantized(model: Model, settings: QatSettings, context: StepContext) -> StepResult:
    """Return the quantized model with weights and scales that were trained to imitate the original.

    Nodes stay as they are: only the values in the initializers change, so a runtime fuses the graph as before. The
    metrics compare the integer engine, before and after, with the original on samples that training never saw.

    Raises:
        ModelError: The model is not quantized.
        OperatorError: The model cannot be run in PyTorch.
        NonFiniteError: Training diverged before it made anything better.
        DataError: Too few samples, or labels that are not there.
    """
    dialect = DIALECTS[context.target.dialect]
    _check_input(model, settings, context.calibration)
    key = _key(model, settings, context)
    checkpoint = CheckpointStore(context.store.folder / f"training-{key[:32]}", key)
    with using_threads(context.threads):
        sparse = _sparse_weights(model) if settings.keep_zeros == "sparse" else ()
        start = recall_unquantized(context.store, model) or fold_batch_norm(context.original)
        student = QuantizedNet(model, start, dialect, power_of_two=settings.power_of_two, sparse=sparse)
        training, problem = _train(student, settings, context, checkpoint)
        trained = student.write_back(model)
        check_quantized(trained, dialect)
        held_out = _held_out(context, settings)
        metrics = {
            **_describe(training, problem),
            "weights_from_float": student.sites.from_original,
            "weights": len(student.sites.weights),
            "sparse_weights": len(sparse),
            **compare_engines(context, held_out, before=model, after=trained, student=_batched(student, model)),
        }
    checkpoint.clear()
    return StepResult(trained, metrics)


def _check_input(model: Model, settings: QatSettings, samples: SampleSet) -> None:
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.graph):
        raise ModelError(
            "nothing to train for: the model is not quantized",
            hint='let `quantize` come before `qat`: steps = ["quantize", "qat"]',
        )
    if settings.task_weight and not samples.labelled:
        raise DataError(
            f"`{samples.name}` has no labels, but task_weight = {settings.task_weight:g} needs them",
            hint="give labelled samples, or set task_weight = 0",
        )


def _sparse_weights(model: Model) -> tuple[str, ...]:
    """Return the names of the stored weights whose zeros are there on purpose, not by rounding alone."""
    named = sparsified_nodes(model)
    found = [matrix for matrix in find_matrices(model.graph.graph) if matrix.node in named]
    return tuple(dict.fromkeys(matrix.initializer for matrix in (*found, *two_of_four(model))))


def _train(
    student: QuantizedNet, settings: QatSettings, context: StepContext, checkpoint: CheckpointStore
) -> tuple[TrainingResult, str | None]:
    """Train the student in place; return what happened, and what went wrong if it got better all the same."""
    original = fold_batch_norm(context.original)

    def project(module: nn.Module) -> None:  # noqa: ARG001 - it is the student, wrapped or not
        student.project()

    try:
        training = train(
            _batched(student, original),
            _batched(GraphNet(original), original),
            context.calibration,
            choose_loss(original, settings.loss_settings()),
            settings,
            seed=context.seed,
            checkpoint=checkpoint,
            progress=context.progress,
            groups=_groups(student, settings),
            after_step=project,
            augmentation=settings.augment.for_inputs(original.inputs),
        )
    except NonFiniteError as error:
        if error.result is None or error.result.best_step == 0:
            raise
        log.warning("qat: %s (%s)", error.message, error.hint)
        return error.result, error.message
    return training, None


def _groups(student: QuantizedNet, settings: QatSettings) -> Sequence[ParameterGroup]:
    """Return the groups that do not learn in integer steps; scales that are not learned are frozen.

    A bias or a gain is moved by as small a share of its mean size as a quantized weight is.
    """
    parts = student.parts()
    factor = settings.scale_learning_rate / settings.learning_rate
    groups = [
        ParameterGroup((other,), max(float(other.detach().abs().mean()), _LEAST_MEAN) / _STEPS_OF_MEAN)
        for other in parts.others
    ]
    for parameters, kind in ((parts.activation_scales, "activations"), (parts.weight_scales, "weights")):
        learned = settings.learn_scales in ("all", kind)
        for parameter in parameters:
            parameter.requires_grad_(learned)
        if learned:
            groups.append(ParameterGroup(parameters, factor, weight_decay=0.0))
    return groups


def _batched(net: nn.Module, model: Model) -> nn.Module:
    """Return a module that takes any batch, also where the graph's is fixed."""
    size = model.inputs[0].shape[0] if model.inputs[0].shape else ""
    return FixedBatchNet(net, size) if isinstance(size, int) else net


def _held_out(context: StepContext, settings: QatSettings) -> SampleSet:
    """Return the samples that training never saw."""
    _, positions = split_samples(context.calibration, settings.held_out_share, context.seed)
    return narrow(context.calibration, [int(position) for position in positions])


def _key(model: Model, settings: QatSettings, context: StepContext) -> str:
    """Return what stands for everything that training depends on (SHA-256, hexadecimal)."""
    parts: JsonValue = [
        __version__, torch.__version__, "qat", model.digest(), context.original.digest(), context.calibration.digest(),
        settings.model_dump(mode="json"), context.seed, context.target.dialect,
        *sorted(sparsified_nodes(model)),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _describe(training: TrainingResult, problem: str | None) -> Mapping[str, JsonValue]:
    found: dict[str, JsonValue] = {
        "steps": training.steps,
        "best_step": training.best_step,
        "stopped": training.stopped,
        "batch": training.batch,
        "trained_samples": training.trained,
        "held_out_samples": training.before.samples,
    }
    return found if problem is None else {**found, "problem": problem}

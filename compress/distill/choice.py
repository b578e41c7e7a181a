"""Which loss suits a model: by what its outputs are."""

from typing import Literal

import onnx_ir as ir
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from compress.distill.augment import ImageAugmentation
from compress.distill.features import AttentionLoss, FeatureLoss
from compress.distill.losses import CosineLoss, DivergenceLoss, ErrorLoss, Loss, SumLoss, TaskLoss
from compress.distill.pairing import Pair
from compress.distill.settings import TrainingSettings
from compress.errors import ModelError
from compress.model import Model, TensorSpec

OutputKind = Literal["logits", "shares", "embedding", "values"]
"""``logits`` and ``shares`` (after a softmax) are [batch, classes]; an embedding is one vector a sample or token."""

_FORWARDERS = frozenset(
    {"Add", "Cast", "Identity", "Reshape", "Squeeze", "Flatten", "DequantizeLinear", "QuantizeLinear"}
)
_FLOATS = ("float16", "bfloat16", "float32", "float64")


class DistillSettings(TrainingSettings):
    """Settings of the step ``distill`` and of the command of that name: how to train, and with which loss.

    Attributes:
        loss: ``auto`` chooses by the kind of output: ``kl`` and ``mse`` for [batch, classes], ``mse`` and ``cosine``
            for embeddings, ``mse`` for anything else. The others take only what they name.
        temperature: Of the softmax in ``kl``.
        features: How many values inside student and teacher are paired and compared too; 0 compares outputs alone.
        features_weight: Of all pairs together.
        attention_weight: Of the attention maps of encoders; 0 leaves them alone.
        task_weight: Of the loss against labels, where the samples have them; 0 never looks at labels.
        augment: Changes of image inputs at every step.
    """

    loss: Literal["auto", "kl", "mse", "cosine"] = "auto"
    temperature: PositiveFloat = 2.0
    features: NonNegativeInt = 0
    features_weight: PositiveFloat = 1.0
    attention_weight: NonNegativeFloat = 0.0
    task_weight: NonNegativeFloat = 0.0
    augment: ImageAugmentation = ImageAugmentation()


def choose_loss(model: Model, settings: DistillSettings | None = None) -> Loss:
    """Return the loss on a model's outputs: settings where they name one, else by the kind of each output.

    Raises:
        ModelError: No output is a float, or none is what the named loss takes.
    """
    chosen = settings or DistillSettings()
    parts: list[Loss] = []
    for spec in model.outputs:
        if spec.dtype in _FLOATS:
            parts += _losses_of(spec, output_kind(model, spec), chosen)
    if not parts:
        shown = ", ".join(str(spec) for spec in model.outputs)
        wanted = {"kl": "[batch, classes]", "cosine": "[batch, …, width]"}.get(chosen.loss, "a float")
        raise ModelError(
            f"nothing to imitate: no output is {wanted}, but {shown}",
            hint="give a model with such an output" if chosen.loss == "auto" else 'choose loss = "auto"',
        )
    if chosen.task_weight:
        parts.append(_task_loss(model, chosen))
    return SumLoss(parts)


def add_inner_losses(
    loss: Loss, features: tuple[Pair, ...], attention: tuple[Pair, ...], settings: DistillSettings
) -> Loss:
    """Return a loss with those on paired values inside student and teacher."""
    parts = [loss]
    if features:
        parts.append(FeatureLoss(features, settings.features_weight))
    if attention:
        parts.append(AttentionLoss(attention, settings.attention_weight))
    return SumLoss(parts) if len(parts) > 1 else loss


def output_kind(model: Model, spec: TensorSpec) -> OutputKind:
    """Return what an output of a model is, judged by its shape and by the operator that makes it."""
    value = next(value for value in model.graph.graph.outputs if value.name == spec.name)
    maker = _maker(value)
    width = spec.shape[-1] if spec.shape else 1
    if len(spec.shape) not in (2, 3) or width == 1:
        return "values"
    if len(spec.shape) == 2 and maker == "Softmax":
        return "shares"
    if len(spec.shape) == 2 and maker in ("Gemm", "MatMul", "LogSoftmax"):
        return "logits"
    return "values" if maker in ("Sigmoid", "Softmax", "LogSoftmax") else "embedding"


def _losses_of(spec: TensorSpec, kind: OutputKind, settings: DistillSettings) -> list[Loss]:
    classifies = kind in ("logits", "shares")
    form: Literal["logits", "shares"] = "shares" if kind == "shares" else "logits"
    # Shares come from logits that nobody sees: a temperature would be applied to other numbers than the teacher's.
    temperature = settings.temperature if kind == "logits" else 1.0
    parts: list[Loss] = []
    if (settings.loss == "kl" and len(spec.shape) == 2) or (settings.loss == "auto" and classifies):
        parts.append(DivergenceLoss(spec.name, temperature, form=form))
    if settings.loss in ("auto", "mse"):
        parts.append(ErrorLoss(spec.name))
    if (settings.loss == "cosine" and len(spec.shape) > 1) or (settings.loss == "auto" and kind == "embedding"):
        parts.append(CosineLoss(spec.name))
    return parts


def _task_loss(model: Model, settings: DistillSettings) -> Loss:
    first = next(spec for spec in model.outputs if spec.dtype in _FLOATS)
    form: Literal["logits", "shares"] = "shares" if output_kind(model, first) == "shares" else "logits"
    return TaskLoss(first.name, settings.task_weight, form)


def _maker(value: ir.Value) -> str:
    """Return the operator that makes a value, before additions of a constant and changes of form."""
    node = value.producer()
    while node is not None and node.op_type in _FORWARDERS:
        computed = [v for v in node.inputs if v is not None and v.producer() is not None]
        if not computed or (node.op_type == "Add" and len(computed) != 1):
            break
        node = computed[0].producer()
    return "" if node is None else node.op_type

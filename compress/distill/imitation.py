"""A graph imitates another: both become modules, one is trained, its weights go back into its graph."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress import __version__
from compress.batch_norm import fold_batch_norm
from compress.data.samples import SampleSet
from compress.distill.choice import DistillSettings, add_inner_losses, choose_loss
from compress.distill.fixed_batch import FixedBatchNet
from compress.distill.guard import NonFiniteError
from compress.distill.interface import check_same_interface
from compress.distill.loop import CheckpointStore, TrainingResult, train
from compress.distill.pairing import (
    Pair,
    Shape,
    feature_candidates,
    pair_attention,
    pair_features,
)
from compress.distill.settings import resolve_batch_norm
from compress.distill.tensors import Tensors, to_tensors
from compress.distill.zeros import keep_zeros, sparsified_nodes
from compress.errors import DataError
from compress.model import JsonValue, Model
from compress.steps import Progress
from compress.torchnet.graph_net import GraphNet
from compress.torchnet.threads import using_threads


@dataclass(frozen=True, slots=True)
class Imitation:
    """A trained student.

    Attributes:
        model: The student's graph with its best weights.
        pairs: Values inside student and teacher that were compared.
    """

    model: Model
    training: TrainingResult
    pairs: tuple[Pair, ...]


def imitate(
    student: Model,
    teacher: Model,
    samples: SampleSet,
    settings: DistillSettings,
    *,
    seed: int,
    checkpoint: CheckpointStore | None,
    progress: Progress,
    threads: int,
    sparse: bool = False,
) -> Imitation:
    """Return the student after it has learned to give the teacher's outputs.

    Args:
        student: Where training starts.
        teacher: With the same inputs and outputs.
        samples: Bound to the inputs of both.
        settings: How to train, and with which loss.
        seed: Of everything random.
        checkpoint: Where to take up and leave the state.
        progress: Told how far training is.
        threads: Of PyTorch.
        sparse: Whether weights that are zero stay so; they always do after the step ``sparsify``.

    Raises:
        ModelError: Inputs or outputs differ, or the loss does not suit them.
        OperatorError: A graph cannot be run in PyTorch.
        NonFiniteError: Training diverged; its ``model`` has the last good weights.
        DataError: Too few samples, or labels that are not there.
    """
    check_same_interface(teacher, student)
    settings, teacher = resolve_batch_norm(settings, student), fold_batch_norm(teacher)
    if settings.task_weight and not samples.labelled:
        raise DataError(
            f"`{samples.name}` has no labels, but task_weight = {settings.task_weight:g} needs them",
            hint="give labelled samples, or set task_weight = 0",
        )
    with using_threads(threads):
        features, attention = pair_inside(student, teacher, samples, settings)
        pairs = (*features, *attention)
        nets = (_net(student, [pair.student for pair in pairs]), _net(teacher, [pair.teacher for pair in pairs]))
        loss = add_inner_losses(choose_loss(teacher, settings), features, attention, settings)
        augmentation = settings.augment.for_inputs(student.inputs)
        try:
            training = train(
                *nets, samples, loss, settings, seed=seed, checkpoint=checkpoint, progress=progress,
                outputs=[spec.name for spec in teacher.outputs], augmentation=augmentation,
                trace=lambda net, feed: trace_graph(student, net, feed),
                channels_last=True,
                after_step=keep_zeros(nets[0]) if sparse or sparsified_nodes(student) else None,
            )  # fmt: skip
        except NonFiniteError as error:
            error.model = _graph_net(nets[0]).write_back(student)
            raise
        return Imitation(_graph_net(nets[0]).write_back(student), training, pairs)


def imitation_key(student: Model, teacher: Model, samples: SampleSet, settings: DistillSettings, seed: int) -> str:
    """Return what stands for everything that :func:`imitate` depends on (SHA-256, hexadecimal)."""
    parts: JsonValue = [
        __version__, torch.__version__, student.digest(), teacher.digest(), samples.digest(),
        settings.model_dump(mode="json"), seed, *sorted(sparsified_nodes(student)),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def pair_inside(
    student: Model, teacher: Model, samples: SampleSet, settings: DistillSettings
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return which features and which attention maps are compared, as the settings want them."""
    features: tuple[Pair, ...] = ()
    if settings.features:
        feed = to_tensors(next(samples.batches(1)).inputs, torch.device("cpu"))
        shapes = [_shapes(model, [c.name for c in feature_candidates(model)], feed) for model in (student, teacher)]
        features = pair_features(student, teacher, shapes[0], shapes[1], settings.features)
    attention = pair_attention(student, teacher) if settings.attention_weight else ()
    return features, attention


def trace_graph(model: Model, net: nn.Module, feed: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Yield the values of a graph in order, computed with the weights of a module that was made of it."""
    names = [
        str(value.name)
        for node in model.graph.graph
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        for value in node.outputs
        if value.name
    ]
    traced = _net(model, names)
    _graph_net(traced).load_state_dict(_graph_net(net).state_dict())
    device = next(iter(feed.values())).device
    found = traced.to(device)(feed)
    for name in names:
        if isinstance(found[name], Tensor):
            yield name, found[name]


def _net(model: Model, observe: Iterable[str]) -> nn.Module:
    net = GraphNet(model, observe=observe)
    size = model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else ""
    return FixedBatchNet(net, size) if isinstance(size, int) else net


def _graph_net(net: nn.Module) -> GraphNet:
    inner = net.net if isinstance(net, FixedBatchNet) else net
    assert isinstance(inner, GraphNet)  # noqa: S101 - made above
    return inner


@torch.no_grad()
def _shapes(model: Model, names: Iterable[str], feed: Tensors) -> dict[str, Shape]:
    """Return the shapes of values for one sample; those that are no float tensors are left out."""
    wanted = tuple(names)
    found = _net(model, wanted)(feed)
    tensors = {name: found[name] for name in wanted if isinstance(found[name], Tensor)}
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor.is_floating_point()}

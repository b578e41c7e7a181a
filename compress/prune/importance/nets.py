"""Graphs as PyTorch modules, for criteria that need gradients or activations."""

from collections.abc import Iterable

from torch import nn

from compress.distill.fixed_batch import FixedBatchNet
from compress.model import Model
from compress.torchnet.graph_net import GraphNet


def make_net(model: Model, observe: Iterable[str] = ()) -> tuple[nn.Module, GraphNet]:
    """Return a module that takes any batch, and the graph's own module in it, which has the parameters.

    Args:
        model: Read, never changed.
        observe: Names of intermediate values that the module returns too.

    Raises:
        OperatorError: The graph cannot be run in PyTorch.
    """
    net = GraphNet(model, observe=observe)
    size = model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else ""
    return (FixedBatchNet(net, size) if isinstance(size, int) else net), net

"""Random tensors: the same sequence in every run where the node has a seed, PyTorch's own generator where not."""

from typing import cast

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import torch_dtype

_FLOAT = 1


def generator(node: Node) -> torch.Generator | None:
    """Return the generator that a node's ``seed`` asks for, or None for PyTorch's own."""
    if "seed" not in node.attributes:
        return None
    # ONNX allows fractions: scaled, so that 0.1 and 0.2 differ.
    return torch.Generator().manual_seed(int(node.attributes.number("seed") * 1_000_003))


def _normal(node: Node) -> Kernel:
    mean, scale = node.attributes.number("mean", 0.0), node.attributes.number("scale", 1.0)
    seeded = generator(node)
    return _shaped(node, lambda shape: torch.randn(shape, generator=seeded) * scale + mean)


def _uniform(node: Node) -> Kernel:
    low, high = node.attributes.number("low", 0.0), node.attributes.number("high", 1.0)
    seeded = generator(node)
    return _shaped(node, lambda shape: torch.rand(shape, generator=seeded) * (high - low) + low)


def _shaped(node: Node, draw: Kernel) -> Kernel:
    """Return a kernel whose shape is an attribute, or that of its input for the ``Like`` operators."""
    if node.op_type.endswith("Like"):
        number = node.attributes.optional_integer("dtype")
        given = None if number is None else torch_dtype(node, number)

        def draw_like(like: Tensor) -> Tensor:
            return cast("Tensor", draw(like.shape)).to(like.device, given or like.dtype)

        return draw_like
    shape = node.attributes.integers("shape") or ()
    dtype = torch_dtype(node, node.attributes.integer("dtype", _FLOAT))
    return lambda: cast("Tensor", draw(shape)).to(dtype)


def _bernoulli(node: Node) -> Kernel:
    number = node.attributes.optional_integer("dtype")
    given = None if number is None else torch_dtype(node, number)
    seeded = generator(node)

    def draw(probability: Tensor) -> Tensor:
        chosen = torch.rand(probability.shape, generator=seeded).to(probability.device) < probability
        return chosen.to(given or probability.dtype)

    return draw


def _multinomial(node: Node) -> Kernel:
    dtype = torch_dtype(node, node.attributes.integer("dtype", 6))
    samples = node.attributes.integer("sample_size", 1)
    seeded = generator(node)

    def draw(logits: Tensor) -> Tensor:
        weights = torch.softmax(logits.detach().to("cpu", torch.float64), -1)
        chosen = torch.multinomial(weights, samples, replacement=True, generator=seeded)
        return chosen.to(logits.device, dtype)

    return draw


OPERATORS: dict[str, Factory] = {
    "Bernoulli": _bernoulli,
    "Multinomial": _multinomial,
    "RandomNormal": _normal,
    "RandomNormalLike": _normal,
    "RandomUniform": _uniform,
    "RandomUniformLike": _uniform,
}

"""Arithmetic, element by element: one input, two, or any number of them."""

from collections.abc import Callable
from functools import reduce
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import number, torch_dtype


def plain(function: Kernel) -> Factory:
    """Return the factory of an operator without attributes that a function of PyTorch computes as it is."""
    return lambda _: function


def _divide(dividend: Tensor, divisor: Tensor) -> Tensor:
    if dividend.is_floating_point():
        return torch.div(dividend, divisor)
    return torch.div(dividend, divisor, rounding_mode="trunc")


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    # A power known as a number is a product where it is 2 or 3, ten times faster than the general function.
    if exponent.numel() == 1 and exponent.dim() <= base.dim() and not exponent.requires_grad:
        return torch.pow(base, number(exponent)).to(base.dtype)
    return torch.pow(base, exponent).to(base.dtype)


def _modulo(node: Node) -> Kernel:
    return cast("Kernel", torch.fmod if node.attributes.integer("fmod", 0) else torch.remainder)


def variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Factory:
    """Return the factory of an operator on one or more inputs that is a chain of an operation on two."""
    return lambda _: lambda *tensors: reduce(function, tensors)


def _mean(*tensors: Tensor) -> Tensor:
    return reduce(torch.add, tensors) / len(tensors)


def _clip(node: Node) -> Kernel:
    if node.opset < 11:
        low, high = node.attributes.number("min", -torch.inf), node.attributes.number("max", torch.inf)
        return lambda x: functional.hardtanh(x, low, high)
    return _clamp


def _clamp(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is None and high is None:
        return x
    trained = (low is not None and low.requires_grad) or (high is not None and high.requires_grad)
    if x.is_floating_point() and not trained:
        # Five times faster in training than a clamp; the bounds are numbers in every export.
        least = -torch.inf if low is None else number(low)
        most = torch.inf if high is None else number(high)
        if least <= most:
            return functional.hardtanh(x, least, most)
    return torch.clamp(x, low, high)


def _cast(node: Node) -> Kernel:
    node.attributes.skip("saturate", "round_mode")  # these concern 8-bit floats, which torch_dtype refuses
    dtype = torch_dtype(node, node.attributes.integer("to"))
    return lambda x: x.to(dtype)


def _cast_like(node: Node) -> Kernel:
    node.attributes.skip("saturate", "round_mode")
    return lambda x, like: x.to(like.dtype)


OPERATORS: dict[str, Factory] = {
    "Abs": plain(torch.abs),
    "Acos": plain(torch.acos),
    "Acosh": plain(torch.acosh),
    "Add": plain(torch.add),
    "Asin": plain(torch.asin),
    "Asinh": plain(torch.asinh),
    "Atan": plain(torch.atan),
    "Atanh": plain(torch.atanh),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": plain(torch.ceil),
    "Clip": _clip,
    "Cos": plain(torch.cos),
    "Cosh": plain(torch.cosh),
    "Det": plain(torch.linalg.det),
    "Div": plain(_divide),
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Floor": plain(torch.floor),
    "Identity": plain(lambda x: x),
    "Log": plain(torch.log),
    "Max": variadic(torch.maximum),
    "Mean": plain(_mean),
    "Min": variadic(torch.minimum),
    "Mod": _modulo,
    "Mul": plain(torch.mul),
    "Neg": plain(torch.neg),
    "Pow": plain(_power),
    "Reciprocal": plain(torch.reciprocal),
    "Round": plain(torch.round),
    "Sign": plain(torch.sign),
    "Sin": plain(torch.sin),
    "Sinh": plain(torch.sinh),
    "Sqrt": plain(torch.sqrt),
    "Sub": plain(torch.sub),
    "Sum": variadic(torch.add),
    "Tan": plain(torch.tan),
}

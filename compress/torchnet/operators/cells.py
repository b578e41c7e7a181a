"""One time step of RNN, GRU and LSTM, with any activation functions, clipping, peepholes and coupled gates.

Source: the equations of the ONNX operators RNN, GRU and LSTM.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Kernel, Node, OperatorError


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of all directions, or of one: input ``w``, recurrent ``r``, both biases ``b``, peepholes ``p``."""

    w: Tensor
    r: Tensor
    b: Tensor | None
    p: Tensor | None

    def of(self, direction: int) -> "Weights":
        """Return those of one direction."""
        b, p = self.b, self.p
        return Weights(
            self.w[direction],
            self.r[direction],
            None if b is None else b[direction],
            None if p is None else p[direction],
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One time step.

    Attributes:
        input_bias: From both biases of a direction to the one that is added once for all steps.
        step: From the projected input [batch, gates · hidden], the states and the weights to the new states.
    """

    input_bias: Callable[[Tensor | None], Tensor | None]
    step: Callable[[Tensor, tuple[Tensor, ...], Weights], tuple[Tensor, ...]]


def recurrent_activations(
    node: Node, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> list[Kernel]:
    """Return activation functions by name; those that have parameters take theirs in turn.

    Raises:
        OperatorError: ONNX has no such function.
    """
    functions: list[Kernel] = []
    alpha, beta = iter(alphas), iter(betas)
    for name in names:
        if name not in _ACTIVATIONS:
            raise OperatorError(
                f"{node.op_type} `{node.name}` has the activation `{name}`", hint=", ".join(_ACTIVATIONS)
            )
        function, defaults = _ACTIVATIONS[name]
        parameters = [next(values, default) for values, default in zip((alpha, beta), defaults, strict=False)]
        functions.append(_with_parameters(function, parameters))
    return functions


def _with_parameters(function: Callable[..., Tensor], parameters: Sequence[float]) -> Kernel:
    return (lambda x: function(x, *parameters)) if parameters else function


_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "Relu": (torch.relu, ()),
    "Tanh": (torch.tanh, ()),
    "Sigmoid": (torch.sigmoid, ()),
    "Affine": (lambda x, alpha, beta: alpha * x + beta, (1.0, 0.0)),
    "LeakyRelu": (functional.leaky_relu, (0.01,)),
    "ThresholdedRelu": (lambda x, alpha: functional.threshold(x, alpha, 0.0), (1.0,)),
    "ScaledTanh": (lambda x, alpha, beta: alpha * torch.tanh(beta * x), (1.0, 1.0)),
    "HardSigmoid": (lambda x, alpha, beta: functional.hardtanh(alpha * x + beta, 0.0, 1.0), (0.2, 0.5)),
    "Elu": (functional.elu, (1.0,)),
    "Softsign": (functional.softsign, ()),
    "Softplus": (functional.softplus, ()),
}
"""Each function, and the defaults of its alpha and beta as far as it has them."""


def _sum_of_biases(b: Tensor | None) -> Tensor | None:
    return None if b is None else b.reshape(2, -1).sum(0)


def _clipped(function: Kernel, limit: float | None) -> Kernel:
    return function if limit is None else lambda x: function(functional.hardtanh(x, -limit, limit))


def rnn_cell(functions: Sequence[Kernel], clip: float | None) -> Cell:
    """Return the cell H' = f(X W + H R + b)."""
    f = _clipped(functions[0], clip)

    def step(x: Tensor, states: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        return (f(x + functional.linear(states[0], weights.r)),)

    return Cell(_sum_of_biases, step)


def gru_cell(functions: Sequence[Kernel], clip: float | None, late_reset: bool) -> Cell:
    """Return the GRU's cell; with ``late_reset`` the reset gate acts after the recurrent product."""
    f, g = (_clipped(function, clip) for function in functions)

    def input_bias(b: Tensor | None) -> Tensor | None:
        if b is None:
            return None
        size = b.numel() // 6
        outer, inner = b.reshape(2, -1).unbind()
        # With a late reset the recurrent bias of the hidden gate is inside what the reset gate multiplies.
        return torch.cat([outer[: 2 * size] + inner[: 2 * size], outer[2 * size :]]) if late_reset else outer + inner

    def step(x: Tensor, states: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        hidden = states[0]
        size = hidden.shape[-1]
        gates, candidate = x[:, : 2 * size], x[:, 2 * size :]
        update, reset = f(gates + functional.linear(hidden, weights.r[: 2 * size])).chunk(2, -1)
        recurrent = weights.r[2 * size :]
        if late_reset:
            bias = None if weights.b is None else weights.b[5 * size :]
            new = g(candidate + reset * functional.linear(hidden, recurrent, bias))
        else:
            new = g(candidate + functional.linear(reset * hidden, recurrent))
        return (torch.lerp(new, hidden, update),)

    return Cell(input_bias, step)


def lstm_cell(functions: Sequence[Kernel], clip: float | None, coupled: bool) -> Cell:
    """Return the LSTM's cell; with ``coupled`` gates what is replaced is what is forgotten.

    Where ONNX leaves it open it does what ONNX Runtime does: the cell state itself is not clipped, and of two coupled
    gates the input gate is computed.
    """
    f, g = (_clipped(function, clip) for function in functions[:2])
    h = functions[2]

    def step(x: Tensor, states: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        hidden, cell = states
        enter, leave, forget, candidate = (x + functional.linear(hidden, weights.r)).chunk(4, -1)
        into, out, kept = (None, None, None) if weights.p is None else weights.p.chunk(3)
        add = f(_seen(enter, cell, into))
        keep = 1 - add if coupled else f(_seen(forget, cell, kept))
        cell = keep * cell + add * g(candidate)
        return f(_seen(leave, cell, out)) * h(cell), cell

    return Cell(_sum_of_biases, step)


def _seen(gate: Tensor, cell: Tensor, peephole: Tensor | None) -> Tensor:
    return gate if peephole is None else gate + peephole * cell

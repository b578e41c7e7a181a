"""RNN, GRU and LSTM: PyTorch's fused kernels where the node computes what they do, a loop over time where not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node, OperatorError
from compress.torchnet.operators.cells import Cell, Weights, gru_cell, lstm_cell, recurrent_activations, rnn_cell

State = tuple[Tensor, ...]

_DIRECTIONS: dict[str, tuple[bool, ...]] = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_DEFAULTS: dict[str, tuple[str, ...]] = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}
# Where PyTorch has ONNX's gates: input, output, forget, cell; update, reset, hidden.
_GATE_ORDER: dict[str, tuple[int, ...]] = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What the attributes of a recurrent node say.

    Attributes:
        backwards: For each direction, whether it runs from the last step to the first.
        cells: For each direction, what computes one step.
        fused: PyTorch's kernel that computes the same without sequence lengths and peepholes, or None.
    """

    kind: str
    backwards: tuple[bool, ...]
    cells: tuple[Cell, ...]
    batch_first: bool
    fused: Callable[..., State] | None


def _recurrent(node: Node) -> Kernel:
    recurrence = _read(node)
    states = 2 if recurrence.kind == "LSTM" else 1

    def run(  # noqa: PLR0917 - the inputs of the node
        x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
        hidden: Tensor | None = None, cell: Tensor | None = None, peepholes: Tensor | None = None,
    ) -> State:  # fmt: skip
        if recurrence.batch_first:
            x = x.transpose(0, 1)
        shape = (w.shape[0], x.shape[1], r.shape[-1])
        given = (hidden, cell)[:states]
        start = tuple(x.new_zeros(shape) if state is None else _directions_first(state, recurrence) for state in given)
        if recurrence.fused is not None and lengths is None and peepholes is None:
            results = _run_fused(recurrence, recurrence.fused, x, Weights(w, r, b, None), start)
        else:
            results = _run_loop(recurrence, x, Weights(w, r, b, peepholes), lengths, start)
        if not recurrence.batch_first:
            return results
        return results[0].permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in results[1:])

    return run


def _directions_first(state: Tensor, recurrence: Recurrence) -> Tensor:
    return state.transpose(0, 1) if recurrence.batch_first else state


def _read(node: Node) -> Recurrence:
    attributes = node.attributes
    attributes.skip("hidden_size")  # the weights have it
    direction = attributes.text("direction", "forward")
    if direction not in _DIRECTIONS:
        raise OperatorError(f"{node.op_type} `{node.name}` runs `{direction}`", hint=", ".join(_DIRECTIONS))
    backwards = _DIRECTIONS[direction]
    names = attributes.texts("activations") or _DEFAULTS[node.op_type] * len(backwards)
    functions = recurrent_activations(
        node, names, attributes.numbers("activation_alpha") or (), attributes.numbers("activation_beta") or ()
    )
    each = len(names) // len(backwards)
    clip = attributes.optional_number("clip")
    make = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}[node.op_type]
    special = make(node)
    return Recurrence(
        kind=node.op_type,
        backwards=backwards,
        cells=tuple(special.cell(functions[i * each : (i + 1) * each], clip) for i in range(len(backwards))),
        batch_first=bool(attributes.integer("layout", 0)),
        fused=special.fused(names) if clip is None else None,
    )


@dataclass(frozen=True, slots=True)
class _Special:
    """How one kind of recurrence makes its cell, and which fused kernel serves activations of given names."""

    cell: Callable[[Sequence[Kernel], float | None], Cell]
    fused: Callable[[Sequence[str]], Callable[..., State] | None]


def _rnn(_: Node) -> _Special:
    kernels: dict[tuple[str, ...], Callable[..., State]] = {("Tanh",): torch.rnn_tanh, ("Relu",): torch.rnn_relu}
    return _Special(rnn_cell, lambda names: kernels.get(tuple(dict.fromkeys(names))))


def _gru(node: Node) -> _Special:
    late_reset = bool(node.attributes.integer("linear_before_reset", 0))
    return _Special(
        lambda functions, clip: gru_cell(functions, clip, late_reset=late_reset),
        lambda names: torch.gru if late_reset and _are_default("GRU", names) else None,
    )


def _lstm(node: Node) -> _Special:
    coupled = bool(node.attributes.integer("input_forget", 0))
    return _Special(
        lambda functions, clip: lstm_cell(functions, clip, coupled=coupled),
        lambda names: torch.lstm if not coupled and _are_default("LSTM", names) else None,
    )


def _are_default(kind: str, names: Sequence[str]) -> bool:
    default = _DEFAULTS[kind]
    return tuple(names) == default * (len(names) // len(default))


def _run_fused(
    recurrence: Recurrence, kernel: Callable[..., State], x: Tensor, weights: Weights, start: State
) -> State:
    """Return Y [steps, directions, batch, hidden] and the last states [directions, batch, hidden]."""
    both = len(recurrence.backwards) == 2
    turned = recurrence.backwards == (True,)
    parameters: list[Tensor] = []
    for direction in range(len(recurrence.backwards)):
        own = weights.of(direction)
        matrices = [own.w, own.r, *([] if own.b is None else own.b.chunk(2))]
        parameters += [_reorder(matrix, _GATE_ORDER[recurrence.kind]) for matrix in matrices]
    states = start if recurrence.kind == "LSTM" else start[0]
    has_biases = weights.b is not None
    y, *last = kernel(x.flip(0) if turned else x, states, parameters, has_biases, 1, 0.0, False, both, False)
    y = y.flip(0) if turned else y
    steps, batch, width = y.shape
    count = len(recurrence.backwards)
    return y.reshape(steps, batch, count, width // count).transpose(1, 2), *last


def _reorder(matrix: Tensor, order: tuple[int, ...]) -> Tensor:
    """Return the gates of a matrix [gates · hidden, …] in another order."""
    if len(order) == 1:
        return matrix
    gates = matrix.chunk(len(order))
    return torch.cat([gates[gate] for gate in order])


def _run_loop(recurrence: Recurrence, x: Tensor, weights: Weights, lengths: Tensor | None, start: State) -> State:
    """Return what :func:`_run_fused` does, step by step; a sequence that has ended keeps its state and yields zeros."""
    active = None
    if lengths is not None:
        steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        active = (steps < lengths.to(x.device)).unsqueeze(-1)
    results = [
        _run_direction(cell, backwards, x, weights.of(direction), active, tuple(state[direction] for state in start))
        for direction, (cell, backwards) in enumerate(zip(recurrence.cells, recurrence.backwards, strict=True))
    ]
    outputs = torch.stack([y for y, _ in results], 1)
    return outputs, *(torch.stack(states) for states in zip(*(last for _, last in results), strict=True))


def _run_direction(
    cell: Cell, backwards: bool, x: Tensor, weights: Weights, active: Tensor | None, state: State
) -> tuple[Tensor, State]:
    projected = functional.linear(x, weights.w, cell.input_bias(weights.b))
    outputs: list[Tensor] = [projected] * x.shape[0]
    steps = range(x.shape[0])
    for step in reversed(steps) if backwards else steps:
        new = cell.step(projected[step], state, weights)
        if active is None:
            state = new
            outputs[step] = new[0]
        else:
            running = active[step]
            state = tuple(torch.where(running, after, before) for after, before in zip(new, state, strict=True))
            outputs[step] = torch.where(running, new[0], 0.0)
    return torch.stack(outputs) if outputs else x.new_zeros(0, *state[0].shape), state


OPERATORS: dict[str, Factory] = {
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "RNN": _recurrent,
}

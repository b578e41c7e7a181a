"""Control flow: bodies that are run once, or again and again.

A kernel gets the node's inputs, then the values that its bodies read from outside; it hands the latter on to them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node, OperatorError


def _if(node: Node) -> Kernel:
    then, otherwise = node.subgraphs["then_branch"], node.subgraphs["else_branch"]

    def choose(condition: Tensor, *outer: Any) -> tuple[Any, ...]:
        return then(*outer) if condition.item() else otherwise(*outer)

    return choose


def _loop(node: Node) -> Kernel:
    """Number of rounds, condition, states… → states…, and for each further output of the body all rounds stacked."""
    body, states = node.subgraphs["body"], len(node.present) - 2

    def repeat(rounds: Tensor | None, condition: Tensor | None, *given: Any) -> tuple[Any, ...]:
        values, outer = given[:states], given[states:]
        limit = None if rounds is None else int(rounds.item())
        going = True if condition is None else bool(condition.item())
        flag = torch.tensor(going) if condition is None else condition
        stacks: list[list[Tensor]] = [[] for _ in range(body.results - 1 - states)]
        done = 0
        while going and (limit is None or done < limit):
            flag, *results = body(torch.tensor(done), flag, *values, *outer)
            going, values = bool(flag.item()), tuple(results[:states])
            for stack, result in zip(stacks, results[states:], strict=True):
                stack.append(result)
            done += 1
        stacked = (torch.stack(stack) if stack else body.nothing(1 + states + i) for i, stack in enumerate(stacks))
        return (*values, *stacked)

    return repeat


def _scan(node: Node) -> Kernel:
    """States…, sequences… → states…, and for each further output of the body all its steps stacked."""
    if node.opset < 9:
        return _scan_of_batches(node)
    body, count = node.subgraphs["body"], node.attributes.integer("num_scan_inputs")
    states = len(node.present) - count
    outputs = body.results - states
    in_axes = node.attributes.integers("scan_input_axes") or (0,) * count
    in_backwards = node.attributes.integers("scan_input_directions") or (0,) * count
    out_axes = node.attributes.integers("scan_output_axes") or (0,) * outputs
    out_backwards = node.attributes.integers("scan_output_directions") or (0,) * outputs

    def scan(*given: Any) -> tuple[Any, ...]:
        values, sequences, outer = given[:states], given[states : states + count], given[states + count :]
        steps = [
            _directed(sequence.unbind(axis), backwards)
            for sequence, axis, backwards in zip(sequences, in_axes, in_backwards, strict=True)
        ]
        stacks: list[list[Tensor]] = [[] for _ in range(outputs)]
        for step in zip(*steps, strict=True):
            results = body(*values, *step, *outer)
            values = results[:states]
            for stack, result in zip(stacks, results[states:], strict=True):
                stack.append(result)
        stacked = (
            torch.stack(tuple(_directed(stack, backwards)), axis) if stack else body.nothing(states + index)
            for index, (stack, axis, backwards) in enumerate(zip(stacks, out_axes, out_backwards, strict=True))
        )
        return (*values, *stacked)

    return scan


def _directed(steps: Sequence[Tensor], backwards: int) -> Sequence[Tensor]:
    return steps[::-1] if backwards else steps


def _scan_of_batches(node: Node) -> Kernel:
    """Scan of opset 8: the first axis of everything is the batch, the second the sequence.

    Raises:
        OperatorError: Sequences of different lengths, or backward ones.
    """
    body, count = node.subgraphs["body"], node.attributes.integer("num_scan_inputs")
    if node.present[0] or any(node.attributes.integers("directions") or ()):
        raise OperatorError(
            f"Scan `{node.name}` of opset 8 has sequence lengths or directions, which are not understood here",
            hint="training and distillation need them; quantization without training works (leave those steps out)",
        )
    states = len(node.present) - 1 - count

    def scan(_lengths: None, *given: Any) -> tuple[Any, ...]:
        batched, outer = given[: states + count], given[states + count :]
        samples = []
        for sample in zip(*batched, strict=True):
            values, steps = sample[:states], sample[states:]
            stacks: list[list[Tensor]] = [[] for _ in range(body.results - states)]
            for step in zip(*steps, strict=True):
                results = body(*values, *step, *outer)
                values = results[:states]
                for stack, result in zip(stacks, results[states:], strict=True):
                    stack.append(result)
            samples.append((*values, *(torch.stack(stack) for stack in stacks)))
        return tuple(torch.stack(results) for results in zip(*samples, strict=True))

    return scan


OPERATORS: dict[str, Factory] = {
    "If": _if,
    "Loop": _loop,
    "Scan": _scan,
}

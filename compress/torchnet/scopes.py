"""Which values a subgraph reads from outside."""

from collections.abc import Iterator

import onnx_ir as ir


def bodies(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    """Yield the subgraphs of a node by attribute name."""
    for name, attribute in node.attributes.items():
        if attribute.type == ir.AttributeType.GRAPH:
            yield name, attribute.as_graph()


def is_constant(node: ir.Node) -> bool:
    """Return whether a node only holds a value."""
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def captures(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the values of outer scopes that the subgraphs of a node read, each once, in order of reading.

    Initializers and constants inside of a subgraph count as outer ones: they are kept once, with those of the graph.
    """
    return tuple(dict.fromkeys(value for _, body in bodies(node) for value in _free_values(body)))


def reads(node: ir.Node) -> tuple[ir.Value | None, ...]:
    """Return everything that a node reads: its inputs, None for an absent one, then what its subgraphs capture."""
    return (*(value if value is not None and value.name else None for value in node.inputs), *captures(node))


def _free_values(body: ir.Graph) -> Iterator[ir.Value]:
    own = {*body.inputs, *(value for node in body if not is_constant(node) for value in node.outputs)}
    read = [value for node in body for value in reads(node)]
    yield from (value for value in (*read, *body.outputs) if value is not None and value not in own)

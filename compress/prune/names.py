"""Names that are still free in a graph."""

import onnx_ir as ir


def names_of(graph: ir.Graph) -> set[str]:
    """Return the names of all values and nodes of a graph."""
    made = {str(value.name) for node in graph.all_nodes() for value in node.outputs}
    made |= {str(node.name) for node in graph.all_nodes()}
    return made | {str(value.name) for value in (*graph.inputs, *graph.initializers.values())}


def free_name(name: str, taken: set[str]) -> str:
    """Return a name, with something added where it is taken; it is taken then."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name

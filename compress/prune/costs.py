"""What a graph costs in the quantity of a target, and what one unit of a group costs of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from compress.batch_norm import fold_batch_norm
from compress.data.samples import SampleSet
from compress.measure.cost import LayerCost, Totals, count_cost, sum_cost
from compress.model import Model
from compress.prune.amount import Quantity
from compress.prune.groups import Group


@dataclass(frozen=True, slots=True)
class CostMeter:
    """Counts what a graph costs.

    Attributes:
        quantity: What is counted; for latency, which cannot be counted, the MACs.
        sizes: Sizes of dynamic input dimensions other than the batch, as the samples have them.
    """

    quantity: Quantity
    sizes: Mapping[str, int]

    def count(self, model: Model) -> float:
        """Return the cost of a model, one sample, as an engine runs it: BatchNormalization folded."""
        return float(self._of(sum_cost(count_cost(fold_batch_norm(model), sizes=self.sizes))))

    def unit_costs(self, model: Model, groups: tuple[Group, ...]) -> dict[str, float]:
        """Return by group what cutting one of its units saves, as if nothing else were cut.

        A unit saves the share of each layer that its places are of the layer's axis.
        """
        shares = self._by_initializer(model)
        lengths = _shapes(model)
        costs = dict.fromkeys((group.name for group in groups), 0.0)
        for group in groups:
            for part in group.slices:
                if part.initializer in shares:
                    costs[group.name] += shares[part.initializer] * part.width / lengths[part.initializer][part.axis]
        return costs

    def _by_initializer(self, model: Model) -> dict[str, float]:
        if self.quantity in ("macs", "latency"):
            return _macs_by_weight(model, count_cost(model, sizes=self.sizes))
        constants = {name: value.const_value for name, value in model.graph.graph.initializers.items()}
        sized = {name: constant for name, constant in constants.items() if constant is not None}
        return {name: float(c.size if self.quantity == "params" else c.nbytes) for name, c in sized.items()}

    def _of(self, totals: Totals) -> int:
        return {"params": totals.parameters, "bytes": totals.weight_bytes}.get(self.quantity, totals.macs)


def sample_sizes(model: Model, samples: SampleSet) -> dict[str, int]:
    """Return the sizes that the samples give to the named dimensions of a model's inputs, the first axis left out."""
    first = next(iter(samples.batches(1))).inputs
    return {
        size: first[spec.name].shape[axis]
        for spec in model.inputs
        for axis, size in enumerate(spec.shape)
        if axis and isinstance(size, str) and spec.name in first
    }


def _macs_by_weight(model: Model, layers: tuple[LayerCost, ...]) -> dict[str, float]:
    """Return the MACs of each kernel and matrix: those of its layer, shared by size where a layer reads several.

    Layers are those of the nodes, in order.
    """
    waiting, found, shapes = iter(layers), dict[str, float](), _shapes(model)
    layer = next(waiting, None)
    for node in model.graph.graph:
        # Nodes that only unpack a weight are no layers.
        if layer is None or (layer.name, layer.op) != (node.name or "", node.op_type):
            continue
        sizes = {name: prod(shapes[name]) for name in _read_by(node) if len(shapes.get(name, ())) > 1}
        for name, size in sizes.items():
            found[name] = found.get(name, 0.0) + layer.macs * size / sum(sizes.values())
        layer = next(waiting, None)
    return found


def _read_by(node: ir.Node) -> list[str]:
    return [str(value.name) for value in node.inputs if value is not None and value.is_initializer()]


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    values = model.graph.graph.initializers.items()
    return {name: tuple(v.const_value.shape.numpy()) for name, v in values if v.const_value is not None}

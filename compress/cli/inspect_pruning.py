"""What ``compress inspect`` says about pruning: which groups could be cut, and what is protected and why."""

from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING

from compress.errors import PruneError

if TYPE_CHECKING:
    from compress.model import JsonValue, Model
    from compress.prune.groups import Coupling, Group


@dataclass(frozen=True, slots=True)
class GroupUse:
    """A group that could be cut.

    Attributes:
        name: What ``exclude`` of the step ``prune`` calls it.
        family: What its units are.
        units: How many there are.
        blocks: Each run of units of this number loses the same.
        multiple: What the number of units left is a multiple of, by default.
        share: Of the model's parameters, what the units own; a weight between two groups counts for both.
    """

    name: str
    family: str
    units: int
    blocks: int
    multiple: int
    share: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why axes of weights are protected: how many, and the largest of these weights as an example."""

    reason: str
    axes: int
    example: str
    example_axis: int


@dataclass(frozen=True, slots=True)
class Pruning:
    """What could be cut.

    Attributes:
        groups: In the graph's order.
        reasons: Those that protect the largest weights first.
        covered: Share of the parameters that belong to a group.
        problem: Why the graph cannot be analysed, or None.
    """

    groups: tuple[GroupUse, ...]
    reasons: tuple[Reason, ...]
    covered: float
    problem: str | None = None

    def to_json(self) -> "JsonValue":
        """Return everything in plain values; shares are fractions."""
        return {
            "groups": [asdict(use) for use in self.groups],
            "protected": [asdict(reason) for reason in self.reasons],
            "covered": self.covered,
            "problem": self.problem,
        }


def find_pruning(model: "Model") -> Pruning:
    """Return what pruning could cut from a model."""
    from compress.prune.coupling import analyse
    from compress.prune.prepare import prepare
    from compress.prune.rounding import Rounding

    try:
        prepared = prepare(model)
        coupling = analyse(prepared)
    except PruneError as error:
        return Pruning((), (), 0.0, f"Pruning: {error.message}.")
    sizes = _sizes(prepared)
    uses = tuple(
        GroupUse(
            group.name, group.family, group.units, group.blocks, Rounding().multiple_of(group), _owned((group,), sizes)
        )
        for group in coupling.groups
    )
    return Pruning(uses, _reasons(coupling, sizes), _owned(coupling.groups, sizes))


def _sizes(model: "Model") -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights by name."""
    from compress.prune.importance.evidence import float_weights

    return {name: weight.shape for name, weight in float_weights(model).items() if weight.size > 1}


def _reasons(coupling: "Coupling", sizes: dict[str, tuple[int, ...]]) -> tuple[Reason, ...]:
    found: dict[str, list[tuple[int, str, int]]] = {}
    for each in coupling.protected:
        found.setdefault(each.reason, []).append((prod(sizes.get(each.initializer, (0,))), each.initializer, each.axis))
    largest = {reason: max(places, key=lambda place: place[0]) for reason, places in found.items()}
    ordered = sorted(found, key=lambda reason: -largest[reason][0])
    return tuple(Reason(reason, len(found[reason]), *largest[reason][1:]) for reason in ordered)


def _owned(groups: "tuple[Group, ...]", sizes: dict[str, tuple[int, ...]]) -> float:
    """Return the share of all weight elements that have a place in some group along some axis."""
    owned: dict[tuple[str, int], set[int]] = {}
    for group in groups:
        for part in group.slices:
            owned.setdefault((part.initializer, part.axis), set()).update(part.positions.ravel().tolist())
    covered = 0.0
    for name, shape in sizes.items():
        left = [1 - len(owned.get((name, axis), ())) / length for axis, length in enumerate(shape)]
        covered += prod(shape) * (1 - prod(left))
    return covered / (sum(prod(shape) for shape in sizes.values()) or 1)

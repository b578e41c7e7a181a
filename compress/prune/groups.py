"""What flows inside pruning: groups of positions that can only be cut together, and plans of cuts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Family = Literal["convolution", "matmul", "recurrent", "heads"]
"""What makes a group's units: it decides to which multiple their number is rounded, and how importance is compared."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What a group's units own of one axis of one initializer.

    Attributes:
        initializer: Its name in the graph.
        axis: From 0.
        positions: [units, width]: the places on the axis that each unit owns.
        role: ``output`` where the tensor makes the units (rows of a kernel, its bias, a normalisation that follows),
            ``input`` where it reads them.
    """

    initializer: str
    axis: int
    positions: NDArray[np.int64]
    role: Literal["output", "input"]

    @property
    def width(self) -> int:
        """How many places on the axis one unit owns."""
        return int(self.positions.shape[1])


@dataclass(frozen=True, slots=True)
class Group:
    """Units (channels, heads, neurons, hidden units) that are cut one by one, each everywhere it appears.

    Attributes:
        name: Stable for one graph: the name of the first value that has the units.
        family: What the units are.
        units: How many there are.
        blocks: The units fall into so many runs of equal length, in order; the same number must be cut in each
            (grouped convolution, dimensions of heads). 1 where any may be cut.
        slices: What each unit owns, in the graph's order.
        normalized: Whether a normalisation or a mean runs over the units, so that cutting one changes what the others
            become; outputs then equal those of a graph whose normalisation leaves the cut units out.
    """

    name: str
    family: Family
    units: int
    blocks: int
    slices: tuple[Slice, ...]
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class Protected:
    """An axis of an initializer that stays as it is, and why, in words for people.

    Attributes:
        initializer: Its name in the graph.
        axis: From 0.
        reason: ``"is the model's output"``, ``"operator NonZero has no rule"``.
    """

    initializer: str
    axis: int
    reason: str


@dataclass(frozen=True, slots=True)
class Coupling:
    """Everything that can be cut in a graph, and what cannot.

    Attributes:
        digest: Of the model that was analysed.
        groups: In the graph's order.
        protected: Axes of weights that belong to no group.
    """

    digest: str
    groups: tuple[Group, ...]
    protected: tuple[Protected, ...]


Cuts = Mapping[str, tuple[int, ...]]
"""Units to remove, ascending, by the name of their group."""

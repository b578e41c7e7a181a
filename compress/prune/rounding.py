"""To which numbers of units a group may be cut."""

from dataclasses import dataclass
from math import ceil, lcm
from typing import Final

from compress.prune.groups import Group

CONVOLUTION: Final = 16
"""Channels of convolutions come in multiples of this: kernels for other counts can be slower than the uncut ones."""
SMALL_CONVOLUTION: Final = 8
"""In groups of fewer than :data:`SMALL` channels, where a step of 16 would be too coarse."""
SMALL: Final = 64


@dataclass(frozen=True, slots=True)
class Rounding:
    """What is left of a group is a multiple of something, and never too little.

    Attributes:
        multiple: Of convolution channels; None chooses by :data:`CONVOLUTION` and :data:`SMALL_CONVOLUTION`.
        finer: The chosen multiples are divided by this (never below 1): 1, 2, 4, 8 or 16.
        floor: Share of a group's units that stays, 0 to 1; one multiple stays in any case.
    """

    multiple: int | None = None
    finer: int = 1
    floor: float = 0.1

    def multiple_of(self, group: Group) -> int:
        """Return what the number of units left is a multiple of; each block loses the same number."""
        multiple = 1
        if group.family == "convolution":
            own = SMALL_CONVOLUTION if group.units < SMALL else CONVOLUTION
            multiple = self.multiple if self.multiple is not None else max(1, own // self.finer)
        return lcm(multiple, group.blocks)

    def levels(self, group: Group, original: int | None = None) -> tuple[int, ...]:
        """Return how many units may be left, descending, beginning with all that there are.

        Args:
            group: As it is now.
            original: How many units it had before an earlier round cut some; the floor is a share of these.
        """
        multiple = self.multiple_of(group)
        least = max(multiple, ceil(self.floor * (original or group.units) / multiple - 1e-9) * multiple)
        highest = (group.units - 1) // multiple * multiple
        return (group.units, *range(highest, least - 1, -multiple))

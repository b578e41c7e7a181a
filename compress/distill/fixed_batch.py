"""Graphs whose batch size is fixed, trained with any batch."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class FixedBatchNet(nn.Module):
    """Runs a module on ``size`` samples at a time; the last ones are filled up, and the filling is cut off again."""

    def __init__(self, net: nn.Module, size: int) -> None:
        """Wrap a module; its parameters stay its own."""
        super().__init__()
        self.net, self.size = net, size

    def forward(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return outputs by name for any number of samples."""
        count = len(next(iter(feed.values())))
        parts = [self.net(part) for part in self._parts(feed, count)]
        return {name: torch.cat([part[name] for part in parts])[:count] for name in parts[0]}

    def _parts(self, feed: Mapping[str, Tensor], count: int) -> Iterator[dict[str, Tensor]]:
        for start in range(0, count, self.size):
            part = {name: tensor[start : start + self.size] for name, tensor in feed.items()}
            missing = start + self.size - count
            if missing > 0:
                part = {
                    name: torch.cat([tensor, tensor[-1:].repeat_interleave(missing, 0)])
                    for name, tensor in part.items()
                }
            yield part

"""Losses on what lies between input and output: features, and attention maps."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from compress.distill.losses import Loss, variance
from compress.distill.pairing import Pair
from compress.distill.tensors import Tensors

_TINY = 1e-8


class FeatureLoss(Loss):
    """Normalised squared error between paired values; where widths differ, the student's go through a learned map.

    Source: Romero et al., FitNets (2015), equation 3, with a 1x1 map as the regressor; the division by the teacher's
    variance lets one weight serve all pairs.
    """

    def __init__(self, pairs: Sequence[Pair], weight: float = 1.0) -> None:
        """Make the loss; the maps are made when the widths are known."""
        super().__init__()
        self.pairs, self.weight = tuple(pairs), weight
        self.maps = nn.ModuleDict()

    def prepare(self, student: Tensors, teacher: Tensors) -> None:
        """Make a map for every pair of different widths, and measure the teacher's variances."""
        for index, pair in enumerate(self.pairs):
            given, wanted = student[pair.student], teacher[pair.teacher]
            axis = channel_axis(wanted)
            self.register_buffer(f"scale{index}", variance(wanted))
            if given.shape[axis] != wanted.shape[axis]:
                self.maps[str(index)] = nn.Linear(given.shape[axis], wanted.shape[axis]).to(given.device)

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """Return one term a pair; the weight is that of their mean."""
        share = self.weight / max(1, len(self.pairs))
        terms = {}
        for index, pair in enumerate(self.pairs):
            given, wanted = student[pair.student], teacher[pair.teacher]
            if str(index) in self.maps:
                axis = channel_axis(wanted)
                given = self.maps[str(index)](given.movedim(axis, -1)).movedim(-1, axis)
            given, wanted = match_sizes(given, wanted)
            error = functional.mse_loss(given, wanted) / self.get_buffer(f"scale{index}")
            terms[f"features {pair.student} as {pair.teacher}"] = share * error
        return terms


class AttentionLoss(Loss):
    """Divergence between paired attention maps [batch, heads, queries, keys], in nats.

    Where the numbers of heads differ, the means over the heads are compared.

    Source: Wang et al., MiniLM (2020), equation 6 (attention transfer).
    """

    def __init__(self, pairs: Sequence[Pair], weight: float = 1.0) -> None:
        """Make the loss of some pairs."""
        super().__init__()
        self.pairs, self.weight = tuple(pairs), weight

    def forward(self, student: Tensors, teacher: Tensors, labels: Tensor | None) -> dict[str, Tensor]:  # noqa: ARG002
        """Return one term a pair; the weight is that of their mean."""
        share = self.weight / max(1, len(self.pairs))
        terms = {}
        for pair in self.pairs:
            given, wanted = student[pair.student], teacher[pair.teacher]
            if given.ndim == wanted.ndim == 4 and given.shape[1] != wanted.shape[1]:
                given, wanted = given.mean(1), wanted.mean(1)
            logs = wanted.clamp(min=_TINY).log() - given.clamp(min=_TINY).log()
            terms[f"attention {pair.student} as {pair.teacher}"] = share * (wanted * logs).sum(-1).mean()
        return terms


def channel_axis(values: Tensor) -> int:
    """Return the axis of the channels: 1 for maps [N, C, H, W], the last for [N, T, C] and [N, C]."""
    return 1 if values.ndim == 4 else values.ndim - 1


def match_sizes(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two maps [N, C, H, W] with the larger one averaged down to the smaller one's size."""
    if one.ndim != 4 or one.shape[2:] == other.shape[2:]:
        return one, other
    size = (min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3]))
    pooled = (functional.adaptive_avg_pool2d(values, size) for values in (one, other))
    return next(pooled), next(pooled)

"""Small nets with structures that are hard to prune, and what each tool makes of them (benchmarks/pruning.py)."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.measure.cost import count_cost, sum_cost
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.search import choose_groups
from compress.prune.surgery import cut
from compress.runtimes import open_graph


@dataclass(frozen=True)
class Subject:
    """A net, the shape of one sample, and the layers to which torch-pruning is told how many heads they have."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    heads: Mapping[str, int] = field(default_factory=dict)


class Residual(nn.Module):
    """The easy case: two convolutions around an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 32, 3, 1, 1), nn.Conv2d(32, 32, 3, 1, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.body(x))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Recurrent(nn.Module):
    """A layer before and after a GRU or an LSTM."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.before, self.recurrent, self.head = nn.Linear(8, 32), kind(32, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        found, _ = self.recurrent(torch.relu(self.before(x)))
        logits: Tensor = self.head(found[:, -1])
        return logits


class FusedAttention(nn.Module):
    """An encoder block whose queries, keys and values come from one layer, as in most ViTs."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.before, self.norm = nn.Linear(16, width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow, self.head = nn.Linear(width, 128), nn.Linear(128, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.before(x)
        qkv = self.qkv(self.norm(x)).reshape(x.shape[0], x.shape[1], 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]).transpose(1, 2)
        x = x + self.out(found.reshape(x.shape[0], x.shape[1], self.heads * self.size))
        x = x + self.narrow(functional.gelu(self.wide(x)))
        logits: Tensor = self.head(x.mean(1))
        return logits


class Shuffle(nn.Module):
    """ShuffleNet's unit: half of the channels pass, the other half is convolved, then they are shuffled."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, width, 3, 2, 1), nn.Linear(width, 10)
        half = width // 2
        self.branch = nn.Sequential(
            *(nn.Conv2d(half, half, 1), nn.ReLU(), nn.Conv2d(half, half, 3, 1, 1, groups=half)),
            *(nn.Conv2d(half, half, 1), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = torch.relu(self.stem(x))
        left, right = x.chunk(2, 1)
        x = torch.cat((left, self.branch(right)), 1)
        batch, channels, height, width = x.shape
        x = x.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class GroupedQueries(nn.Module):
    """A decoder block of today: rotary positions, two query heads to each head of keys and values, a gated layer."""

    def __init__(self, width: int = 64, heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.before, self.norm = nn.Linear(16, width), nn.RMSNorm(width)
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, groups * self.size, bias=False)
        self.value = nn.Linear(width, groups * self.size, bias=False)
        self.gate, self.up, self.down = nn.Linear(width, 128), nn.Linear(width, 128), nn.Linear(128, width)
        self.head = nn.Linear(width, 10)
        angles = torch.outer(torch.arange(12.0), 100.0 ** -torch.linspace(0, 1, self.size // 2)).repeat(1, 2)
        self.cosines: Tensor
        self.sines: Tensor
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.before(x)
        normed, batch, steps = self.norm(x), x.shape[0], x.shape[1]
        query = self._rotate(self.query(normed).reshape(batch, steps, self.heads, self.size).transpose(1, 2))
        key = self._rotate(self.key(normed).reshape(batch, steps, self.groups, self.size).transpose(1, 2))
        value = self.value(normed).reshape(batch, steps, self.groups, self.size).transpose(1, 2)
        repeats = self.heads // self.groups
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        weights = (query @ key.transpose(2, 3) / self.size**0.5).softmax(-1)
        x = x + self.out((weights @ value).transpose(1, 2).reshape(batch, steps, self.heads * self.size))
        x = x + self.down(functional.silu(self.gate(x)) * self.up(x))
        logits: Tensor = self.head(x.mean(1))
        return logits

    def _rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cosines + torch.cat((-second, first), -1) * self.sines


class Upscale(nn.Module):
    """A super-resolution net: channels become places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 32, 3, 1, 1), nn.Conv2d(32, 64, 3, 1, 1)
        self.shuffle, self.last = nn.PixelShuffle(2), nn.Conv2d(16, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        image: Tensor = self.last(torch.relu(self.shuffle(self.second(torch.relu(self.first(x))))))
        return image


SUBJECTS: dict[str, Subject] = {
    "residual convolutions": Subject(Residual, (3, 16, 16)),
    "GRU": Subject(lambda: Recurrent(nn.GRU), (12, 8)),
    "LSTM": Subject(lambda: Recurrent(nn.LSTM), (12, 8)),
    "fused qkv": Subject(FusedAttention, (12, 16), {"qkv": 4}),
    "channel shuffle": Subject(Shuffle, (3, 16, 16)),
    "RoPE and grouped queries": Subject(GroupedQueries, (12, 16), {"query": 4, "key": 2, "value": 2}),
    "pixel shuffle": Subject(Upscale, (3, 16, 16)),
}


def torch_pruning_half(module: nn.Module, example: Tensor, heads: Mapping[str, int]) -> str:
    """Return what torch-pruning does when it is to cut half of every layer but the last, in words.

    Where the net has heads it is tried with and without being told, and the better counts.
    """
    told = [_try_torch_pruning(copy.deepcopy(module), example, known) for known in ({}, heads)[: 1 + bool(heads)]]
    return min(told, key=lambda words: not words.startswith("-"))


def cut_half(model: Model) -> str:
    """Return what this project does when it is to cut half of every group, in words."""
    before = sum_cost(count_cost(model)).parameters
    try:
        coupling = analyse(model)
        cuts = {}
        for group in choose_groups(coupling, ()):
            blocks = np.arange(group.units).reshape(group.blocks, -1)
            cuts[group.name] = tuple(blocks[:, : blocks.shape[1] // 2].reshape(-1).tolist())
        smaller = cut(model, coupling, {name: units for name, units in cuts.items() if units})
        shape = [size if isinstance(size, int) else 2 for size in model.inputs[0].shape]
        feed = {model.inputs[0].name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
        outputs = []
        for each in (model, smaller):
            with open_graph(each.to_bytes(), threads=1) as session:
                outputs.append(next(iter(session.run(feed).values())))
    except Exception as error:  # noqa: BLE001 - what goes for the package goes for us
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:60]}"
    return _describe(before, sum_cost(count_cost(smaller)).parameters, outputs[0].shape, outputs[1].shape)


def _try_torch_pruning(module: nn.Module, example: Tensor, heads: Mapping[str, int]) -> str:
    import torch_pruning

    layers = dict(module.named_modules())
    before, wanted = sum(p.numel() for p in module.parameters()), module(example).shape
    try:
        pruner = torch_pruning.pruner.BasePruner(
            module, example, importance=torch_pruning.importance.MagnitudeImportance(p=2), pruning_ratio=0.5,
            ignored_layers=[layers["head"] if "head" in layers else layers["last"]],
            num_heads={layers[name]: count for name, count in heads.items()},
            prune_num_heads=bool(heads), head_pruning_ratio=0.5,
        )  # fmt: skip
        pruner.step()
        found = module(example).shape
    except Exception as error:  # noqa: BLE001 - whatever a package raises is its result
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:26]}"
    return _describe(before, sum(p.numel() for p in module.parameters()), tuple(wanted), tuple(found))


def _describe(before: int, after: int, wanted: tuple[int, ...], found: tuple[int, ...]) -> str:
    if wanted != found:
        return f"changes the output: {list(found)} instead of {list(wanted)}"
    return "finds nothing" if after == before else f"-{(before - after) / before:.0%} of the parameters"

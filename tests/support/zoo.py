"""Small networks whose axes are coupled in every way that pruning knows, as graphs that the intake hands on.

Exporting all of them takes most of a minute, so the graphs are stored: ``python tests/support/zoo.py`` writes them.
"""

import math
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import exported_nets
import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.intake import IntakeOptions, take_in
from compress.model import Model
from compress.quiet import quiet

VOCABULARY = 40


class SqueezeExcite(nn.Module):
    """EfficientNet-like: expansion, depthwise, squeeze and excite, projection, residual: [N, 3, 16, 16] → [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.expand, self.depthwise = nn.Conv2d(8, 24, 1), nn.Conv2d(24, 24, 3, 1, 1, groups=24)
        self.squeeze, self.excite = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.project, self.top, self.head = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 20, 1), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.norm(self.stem(x)))
        y = functional.silu(self.depthwise(functional.silu(self.expand(x))))
        gate = self.excite(functional.silu(self.squeeze(functional.adaptive_avg_pool2d(y, 1))))
        x = x + self.project(y * torch.sigmoid(gate))
        logits: Tensor = self.head(functional.silu(self.top(x)).mean((2, 3)))
        return logits


class DenseNet(nn.Module):
    """DenseNet-like: every layer reads all before it; BatchNormalization in front: [N, 3, 12, 12] → [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        widths = (8, 12, 16)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.layers = nn.ModuleList(nn.Conv2d(width, 4, 3, 1, 1) for width in widths)
        self.transition_norm, self.transition = nn.BatchNorm2d(20), nn.Conv2d(20, 10, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat((x, layer(torch.relu(norm(x)))), 1)
        x = functional.avg_pool2d(self.transition(torch.relu(self.transition_norm(x))), 2)
        logits: Tensor = self.head(torch.relu(x).mean((2, 3)))
        return logits


class Grouped(nn.Module):
    """ResNeXt-like: grouped, depthwise and grouped transposed convolutions: [N, 3, 12, 12] → [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 12, 3, 1, 1), nn.Conv2d(12, 16, 3, 1, 1, groups=4)
        self.widen, self.depthwise = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 3, 2, 1, groups=8)
        self.up, self.mix = nn.ConvTranspose2d(16, 8, 2, 2, groups=2), nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.grouped(torch.relu(self.stem(x))))
        x = torch.relu(self.depthwise(torch.relu(self.widen(x))))
        x = functional.max_pool2d(torch.relu(self.mix(torch.relu(self.up(x)))), 4)
        logits: Tensor = self.head(x.flatten(1))
        return logits


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of groups, as ShuffleNet does."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, groups, channels // groups, height, width)
    return parts.transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleNet(nn.Module):
    """ShuffleNet-like: grouped pointwise convolutions and shuffles, then halves and shuffles: [N, 3, 8, 8] → [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, 1, 1)
        self.first, self.depthwise = nn.Conv2d(12, 12, 1, groups=3), nn.Conv2d(12, 12, 3, 1, 1, groups=12)
        self.second, self.branch = nn.Conv2d(12, 12, 1, groups=3), nn.Conv2d(12, 16, 1)
        self.halves = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(2))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = shuffle(torch.relu(self.first(x)), 3)
        x = torch.relu(x + self.second(self.depthwise(y)))
        x = torch.relu(self.branch(x))
        for layer in self.halves:
            left, right = x.chunk(2, 1)
            x = shuffle(torch.cat((left, torch.relu(layer(right))), 1), 2)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class PixelShuffle(nn.Module):
    """Super-resolution-like: space to depth and back: [N, 3, 8, 8] → [N, 3, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(12, 8, 3, 1, 1), nn.Conv2d(8, 24, 3, 1, 1)
        self.middle, self.last = nn.Conv2d(6, 20, 3, 1, 1), nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pixel_unshuffle(x, 2)
        x = torch.relu(functional.pixel_shuffle(self.body(torch.relu(self.stem(x))), 2))
        image: Tensor = self.last(functional.pixel_shuffle(self.middle(x), 2))
        return image


class ConvNext(nn.Module):
    """ConvNeXt-like: depthwise, layer norm of channels, pointwise layers, layer scale: [N, 3, 16, 16] → [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(24, 8)
        self.scale, self.after, self.head = nn.Parameter(torch.rand(8)), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + (self.scale * self.narrow(functional.gelu(self.wide(y)))).permute(0, 3, 1, 2)
        logits: Tensor = self.head(self.after(x.mean((2, 3))))
        return logits


class Bert(nn.Module):
    """BERT-like with a mask and separate q, k, v: tokens and mask [N, T] → [N, 3]."""

    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.tokens, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(64, width)
        self.kinds, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.attended = nn.Linear(width, width), nn.LayerNorm(width)
        self.wide, self.narrow, self.done = nn.Linear(width, 24), nn.Linear(24, width), nn.LayerNorm(width)
        self.pool, self.head = nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1])
        x = self.norm(self.tokens(tokens) + self.places(places) + self.kinds(torch.zeros_like(tokens)))
        hidden = (1.0 - mask.to(x.dtype))[:, None, None, :] * -1e4
        shape = (x.shape[0], x.shape[1], self.heads, -1)
        q, k, v = (part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        scores = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + hidden, -1)
        x = self.attended(x + self.out((scores @ v).transpose(1, 2).reshape(x.shape)))
        x = self.done(x + self.narrow(functional.gelu(self.wide(x))))
        logits: Tensor = self.head(torch.tanh(self.pool(x[:, 0])))
        return logits


class Gpt(nn.Module):
    """GPT-like: fused qkv that is split, causal scaled dot-product attention: tokens [N, T] → [N, 3]."""

    def __init__(self, width: int = 12, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.tokens, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(64, width)
        self.before, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.between, self.wide, self.narrow = nn.LayerNorm(width), nn.Linear(width, 32), nn.Linear(32, width)
        self.after, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        shape = (x.shape[0], x.shape[1], self.heads, -1)
        q, k, v = (part.view(shape).transpose(1, 2) for part in self.qkv(self.before(x)).chunk(3, -1))
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(x.shape))
        x = x + self.narrow(functional.gelu(self.wide(self.between(x)), approximate="tanh"))
        logits: Tensor = self.head(self.after(x).mean(1))
        return logits


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate pairs of dimensions of heads, [N, H, T, D]."""
    one, other = x.chunk(2, -1)
    return x * cosine + torch.cat((-other, one), -1) * sine


class Llama(nn.Module):
    """Llama-like: RMS norms written out, rotary positions, grouped query heads, SwiGLU: tokens [N, T] → [N, 3]."""

    def __init__(self, width: int = 12, heads: int = 4, groups: int = 2, depth: int = 4) -> None:
        super().__init__()
        self.heads, self.groups, self.depth = heads, groups, depth
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.scales = nn.ParameterList(nn.Parameter(torch.rand(width) + 0.5) for _ in range(3))
        self.query = nn.Linear(width, heads * depth, bias=False)
        self.key, self.value = (nn.Linear(width, groups * depth, bias=False) for _ in range(2))
        self.out = nn.Linear(heads * depth, width, bias=False)
        self.gate, self.up = (nn.Linear(width, 20, bias=False) for _ in range(2))
        self.down, self.head = nn.Linear(20, width, bias=False), nn.Linear(width, 3)

    def normalize(self, x: Tensor, index: int) -> Tensor:
        normalized: Tensor = self.scales[index] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))
        return normalized

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        batch, length = tokens.shape
        angles = torch.arange(length)[:, None] * torch.tensor([1.0, 0.1])[None]
        cosine, sine = (torch.cat((table, table), -1) for table in (angles.cos(), angles.sin()))
        y = self.normalize(x, 0)
        q = rotate(self.query(y).view(batch, length, self.heads, -1).transpose(1, 2), cosine, sine)
        k = rotate(self.key(y).view(batch, length, self.groups, -1).transpose(1, 2), cosine, sine)
        v = self.value(y).view(batch, length, self.groups, -1).transpose(1, 2)
        k, v = (self.repeat(part) for part in (k, v))
        scores = torch.softmax(q @ k.transpose(-1, -2) / self.depth**0.5, -1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(batch, length, -1))
        y = self.normalize(x, 1)
        x = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        logits: Tensor = self.head(self.normalize(x, 2)[:, -1])
        return logits

    def repeat(self, x: Tensor) -> Tensor:
        batch, groups, length, depth = x.shape
        wide = x[:, :, None].expand(batch, groups, self.heads // groups, length, depth)
        return wide.reshape(batch, self.heads, length, depth)


class Gru(nn.Module):
    """Two GRU layers: [N, T, 4] → [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(4, 6, num_layers=2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.gru(x)[0].mean(1))
        return logits


class Lstm(nn.Module):
    """A bidirectional LSTM whose last states are read: [N, T, 4] → [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, bidirectional=True, batch_first=True)
        self.hidden, self.head = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        _, (states, _) = self.lstm(x)
        logits: Tensor = self.head(torch.relu(self.hidden(torch.cat((states[0], states[1]), -1))))
        return logits


@dataclass(frozen=True)
class Species:
    """How to make a network.

    Attributes:
        make: The module.
        kind: Which share of its weights has to be prunable.
        shape: Of one sample; None is the length of a sequence.
        tokens: How many inputs of tokens it has, 0 for one of numbers.
    """

    make: Callable[[], nn.Module]
    kind: Literal["cnn", "rnn", "transformer"]
    shape: tuple[int | None, ...]
    tokens: int = 0


SPECIES = {
    "squeeze-excite": Species(SqueezeExcite, "cnn", (3, 16, 16)),
    "densenet": Species(DenseNet, "cnn", (3, 12, 12)),
    "grouped": Species(Grouped, "cnn", (3, 12, 12)),
    "shufflenet": Species(ShuffleNet, "cnn", (3, 8, 8)),
    "pixel-shuffle": Species(PixelShuffle, "cnn", (3, 8, 8)),
    "convnext": Species(ConvNext, "cnn", (3, 16, 16)),
    "bert": Species(Bert, "transformer", (None,), tokens=2),
    "gpt": Species(Gpt, "transformer", (None,), tokens=1),
    "llama": Species(Llama, "transformer", (None,), tokens=1),
    "gru": Species(Gru, "rnn", (None, 4)),
    "lstm": Species(Lstm, "rnn", (None, 4)),
}
KINDS: dict[str, Literal["cnn", "rnn", "transformer"]] = {
    **{name: species.kind for name, species in SPECIES.items()},
    **dict.fromkeys(("resnet", "mobilenetv2", "unet", "rnet"), "cnn"),
    "recurrent": "rnn",
    "vit": "transformer",
}


def make_inputs(name: str, batch: int, length: int, seed: int = 1) -> dict[str, Tensor]:
    """Return samples by the name of the input."""
    generator = torch.Generator().manual_seed(seed)
    if name not in SPECIES:
        return {"x": torch.randn((batch, *exported_nets.ARCHITECTURES[name].shape), generator=generator)}
    species = SPECIES[name]
    shape = (batch, *(length if size is None else size for size in species.shape))
    if not species.tokens:
        return {"x": torch.randn(shape, generator=generator)}
    feed = {"x": torch.randint(0, VOCABULARY, shape, generator=generator)}
    if species.tokens == 2:
        feed["mask"] = torch.ones(shape, dtype=torch.int64)
        feed["mask"][:, length - 1 :] = 0
    return feed


@cache
def zoo_model(name: str) -> Model:
    """Return the stored graph of a network, with random values for the large weights that the file leaves out."""
    random = np.random.default_rng(0)
    proto = onnx.load(_FOLDER / f"{name}.onnx")
    for tensor in proto.graph.initializer:
        if not tensor.raw_data and tensor.data_type == onnx.TensorProto.FLOAT and min(tensor.dims, default=0) > 0:
            fan_in = math.prod(tensor.dims) / max(tensor.dims)
            values = random.standard_normal(tuple(tensor.dims)) / math.sqrt(fan_in)
            tensor.raw_data = values.astype(np.float32).tobytes()
    return Model.from_bytes(proto.SerializeToString())


def export_model(name: str) -> Model:
    """Return the graph of a network with random weights and statistics that are nobody's defaults."""
    if name not in SPECIES:
        return exported_nets.folded_model(name)
    torch.manual_seed(0)
    module = SPECIES[name].make()
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm)):
            for parameter in part.parameters():
                nn.init.uniform_(parameter, 0.5, 1.5)
    feed = make_inputs(name, 2, 5)
    axes = {0: torch.export.Dim("batch")}
    if None in SPECIES[name].shape:
        axes[1] = torch.export.Dim("length", max=64)
    with quiet(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            module.eval(), tuple(feed.values()), dynamo=True, optimize=False, verbose=False, external_data=False,
            dynamic_shapes=tuple(axes for _ in feed), input_names=list(feed), output_names=["y"],
        )  # fmt: skip
        assert program is not None
        path = Path(folder) / "model.onnx"
        path.write_bytes(program.model_proto.SerializeToString())
        return take_in(path, IntakeOptions()).model


def store(name: str) -> None:
    """Write a network's graph into the folder that :func:`zoo_model` reads, without its large weights."""
    proto = onnx.ModelProto.FromString(export_model(name).to_bytes())
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) > _LARGE:
            tensor.ClearField("raw_data")
    (_FOLDER / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))


_FOLDER = Path(__file__).parent / "zoo"
_LARGE = 64

if __name__ == "__main__":
    for each in sys.argv[1:] or KINDS:
        store(each)

"""Time of one training step (forward, backward, AdamW) through `GraphNet`, as a ratio to the eager module's.

    python benchmarks/training_step.py [--threads 1] [--rounds 30] [--size 224] [--only mobilenetv2]

The steps of both are interleaved: eager, graph, eager, graph … on the same batch. Printed are the medians in
milliseconds and the ratio: the median of the rounds' own ratios, with a 95 % bootstrap interval. Both networks have
random weights: MobileNetV2, once with its BatchNormalization in training mode on both sides and once folded into the
convolutions as the intake does it, and an encoder of MiniLM's shape (6 layers, 384 wide, 12 heads, 128 tokens).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from compress.intake import IntakeOptions, take_in
from compress.model import Model, TensorSpec
from compress.quiet import quiet
from compress.torchnet.graph_net import GraphNet

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples" / "mobilenetv2"))

Step = Callable[[], float]


class Encoder(nn.Module):
    """BERT's encoder: tokens [N, S] → embedding of the mean [N, 384]."""

    def __init__(self, layers: int = 6, width: int = 384, heads: int = 12, words: int = 30_522) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(torch.randn(1, 512, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mean embeddings [N, 384]."""
        x = self.norm(self.words(tokens) + self.places[:, : tokens.shape[1]])
        for layer in self.layers:
            x = layer(x)
        mean: Tensor = x.mean(1)
        return mean


class Layer(nn.Module):
    """Self-attention and feed-forward, normalised afterwards: [N, S, D] → [N, S, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the next embeddings [N, S, D]."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.first(x + self.out(seen))
        normed: Tensor = self.second(x + self.narrow(nn.functional.gelu(self.wide(x))))
        return normed


@dataclass(frozen=True)
class Case:
    """An eager module and the graph of it, with one batch."""

    name: str
    module: nn.Module
    net: GraphNet
    feed: Mapping[str, Tensor]


def cases(batch: int, size: int, length: int) -> Iterator[Case]:
    from network import mobilenet_v2

    image = {"image": torch.randn(batch, 3, size, size)}
    spec = TensorSpec("image", "float32", ("batch", 3, size, size))
    module = mobilenet_v2().eval()
    unfolded = GraphNet(export_unfolded(module, image["image"])).train()
    folded = GraphNet(export(module, spec))
    module.train()
    module.get_submodule("classifier.0").eval()
    yield Case("MobileNetV2, BatchNormalization trained", module, unfolded, image)
    yield Case("MobileNetV2, folded, against the same eager one", module, folded, image)
    encoder = Encoder().eval()
    tokens = {"tokens": torch.randint(0, 30_000, (batch, length))}
    net = GraphNet(export(encoder, TensorSpec("tokens", "int64", ("batch", length))))
    yield Case("encoder 6 x 384", encoder, net, tokens)


def export(module: nn.Module, spec: TensorSpec) -> Model:
    """Return the graph as the intake makes it of an archive."""
    dims = {name: torch.export.Dim(name, max=512) for name in spec.shape if isinstance(name, str)}
    example = torch.zeros([2 if isinstance(n, str) else n for n in spec.shape], dtype=getattr(torch, spec.dtype))
    shapes = ({axis: dims[name] for axis, name in enumerate(spec.shape) if isinstance(name, str)},)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.pt2"
        torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)
        return take_in(path, IntakeOptions()).model


def export_unfolded(module: nn.Module, example: Tensor) -> Model:
    """Return the graph with its BatchNormalization nodes, in the order and under the names of the module."""
    with quiet():
        batch = torch.export.Dim("batch")
        program = torch.onnx.export(
            module, (example,), dynamo=True, optimize=False, verbose=False, external_data=False,
            dynamic_shapes=({0: batch},), input_names=["image"],
        )  # fmt: skip
    assert program is not None
    return Model.from_ir(ir.from_proto(program.model_proto))


def training_step(module: nn.Module, run: Callable[[], Tensor]) -> Step:
    """Return a function that does one step and returns its seconds."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(run().square().mean())
        optimizer.step()
        return time.perf_counter() - start

    return step


def measure(case: Case, rounds: int) -> str:
    (given,) = case.feed.values()
    eager = training_step(case.module, lambda: case.module(given))
    graph = training_step(case.net, lambda: next(iter(case.net(case.feed).values())))
    for _ in range(3):
        eager(), graph()
    pairs = [(eager(), graph()) for _ in range(rounds)]
    ratios = np.array([ours / theirs for theirs, ours in pairs])
    resampled = np.random.default_rng(0).choice(ratios, (2000, rounds))
    low, high = np.percentile(np.median(resampled, 1), (2.5, 97.5))
    medians = [1e3 * statistics.median(column) for column in zip(*pairs, strict=True)]
    return (
        f"{case.name:50} eager {medians[0]:7.1f} ms, graph {medians[1]:7.1f} ms, "
        f"ratio {np.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="of an image, in pixels")
    parser.add_argument("--length", type=int, default=128, help="of a text, in tokens")
    parser.add_argument("--only", default="", help="part of a case's name, in lower case")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"batch {options.batch}, {options.threads} threads, {options.rounds} rounds")
    for case in cases(options.batch, options.size, options.length):
        if options.only in case.name.lower():
            print(measure(case, options.rounds), flush=True)


if __name__ == "__main__":
    main()

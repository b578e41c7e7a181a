"""Train the example network on Fashion-MNIST and save it as a ``torch.export`` archive.

The exact command that made the committed ``model.pt`` (two cores, under half an hour)::

    python examples/fetch.py fashion-mnist
    python examples/fashion/train.py --seed 0 --epochs 7

It reads the 60,000 training images for training only, reports the accuracy on the 10,000 test images once at the end,
and refuses to write a model below 92 %.
"""

import argparse
import gzip
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).parent
MEAN, STD = 0.2860, 0.3530
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def cache_folder() -> Path:
    """Return the folder that ``examples/fetch.py`` fills."""
    return Path(os.environ.get("COMPRESS_CACHE", Path.home() / ".cache" / "edge-compress"))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a residual: [N, C, H, W] -> [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, project: [N, C, H, W] -> [N, D, H/stride, W/stride]."""

    def __init__(self, channels: int, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and channels == out
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class FashionNet(nn.Module):
    """Classifier of grey 28x28 images: [N, 1, 28, 28] -> logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stages = nn.Sequential(
            InvertedResidual(16, 48, 64, stride=2),
            BasicBlock(64),
            InvertedResidual(64, 128, 64, stride=1),
            InvertedResidual(64, 192, 128, stride=2),
            BasicBlock(128),
            InvertedResidual(128, 256, 128, stride=1),
        )
        self.head = nn.Linear(128, 10)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(image))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def read_idx(name: str) -> Tensor:
    """Return an IDX file of the data set as a uint8 tensor."""
    for folder in (cache_folder() / "fashion-mnist", SYSTEM_FOLDER):
        if (folder / name).exists():
            raw = gzip.decompress((folder / name).read_bytes())
            dimensions = raw[3]
            shape = tuple(np.frombuffer(raw, ">u4", dimensions, 4).astype(int))
            return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())
    raise SystemExit(f"{name} not found: run `python examples/fetch.py fashion-mnist` first")


def load_split(split: str) -> tuple[Tensor, Tensor]:
    """Return normalised images [N, 1, 28, 28] and labels [N]."""
    images = read_idx(f"{split}-images-idx3-ubyte.gz").float().div_(255).sub_(MEAN).div_(STD)
    return images[:, None], read_idx(f"{split}-labels-idx1-ubyte.gz").long()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images mirrored and shifted by up to two pixels, at random."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    dy, dx = (int(v) for v in torch.randint(0, 5, (2,), generator=generator))
    background = -MEAN / STD
    return functional.pad(images, (2, 2, 2, 2), value=background)[:, :, dy : dy + 28, dx : dx + 28]


@torch.no_grad()
def measure_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the top-1 accuracy as a fraction."""
    model.eval()
    starts = range(0, len(labels), 500)
    hits = [int((model(images[i : i + 500]).argmax(1) == labels[i : i + 500]).sum()) for i in starts]
    return sum(hits) / len(labels)


def train(model: nn.Module, data: tuple[Tensor, Tensor], epochs: int, batch: int, seed: int) -> None:
    """Train in place with SGD, one-cycle schedule and label smoothing."""
    images, labels = data
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps, pct_start=0.25)
    model.train()
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images), generator=generator)
        for i in range(0, len(order) // batch * batch, batch):
            index = order[i : i + batch]
            logits = model(augment(images[index], generator))
            loss = functional.cross_entropy(logits, labels[index], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(
            f"epoch {epoch + 1}/{epochs} loss {total / (len(images) // batch):.4f} {time.perf_counter() - start:.0f} s",
            flush=True,
        )


def save(model: nn.Module, path: Path) -> None:
    """Write the model as a ``torch.export`` archive with a dynamic batch."""
    model.eval()
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (torch.zeros(2, 1, 28, 28),), dynamic_shapes={"image": {0: batch}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has the paths of the machine that trained
    with path.open("wb") as file:
        torch.export.save(program, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--out", type=Path, default=HERE / "model.pt")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    model = FashionNet()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, load_split("train"), options.epochs, options.batch, options.seed)
    accuracy = measure_accuracy(model, *load_split("t10k"))
    print(f"test accuracy {100 * accuracy:.2f} %")
    if accuracy < 0.92:
        raise SystemExit("below 92 %: not saved")
    save(model, options.out)


if __name__ == "__main__":
    main()

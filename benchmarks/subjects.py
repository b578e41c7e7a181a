"""Models with their samples that several benchmarks take: MobileNetV2, ResNet-50 with random weights, MiniLM.

``python examples/fetch.py mobilenetv2 photos minilm sentiment`` brings what they need.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.binding import bind_samples
from compress.data.recipes import load_samples
from compress.data.samples import SampleSet
from compress.data.synthetic import synthesize
from compress.intake import IntakeOptions, take_in
from compress.intake.export import export_module
from compress.intake.simplify import simplify
from compress.model import Model, TensorSpec
from compress.project import load_project
from compress.targets import load_target

ROOT = Path(__file__).parent.parent
CACHE = Path("~/.cache/edge-compress").expanduser()
TOKENS = 128


@dataclass(frozen=True)
class Subject:
    """A float model, and samples to calibrate it and to compare outputs on."""

    model: Model
    calibration: SampleSet
    evaluation: SampleSet


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride), 1×1 convolutions and the way around them: [N, C, H, W] → [N, 4·width, H/s, W/s]."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()

        def convolve(before: int, after: int, size: int, step: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, size, step, size // 2, bias=False), nn.BatchNorm2d(after)]

        self.body = nn.Sequential(
            *convolve(channels, width, 1, 1), nn.ReLU(),
            *convolve(width, width, 3, stride), nn.ReLU(),
            *convolve(width, 4 * width, 1, 1),
        )  # fmt: skip
        around = stride != 1 or channels != 4 * width
        self.around = nn.Sequential(*convolve(channels, 4 * width, 1, stride)) if around else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.relu(self.body(x) + self.around(x))


def resnet50() -> nn.Sequential:
    """Return the 50-layer net, image [N, 3, 224, 224] → logits [N, 1000].

    Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition" (2015), table 1, with the
        stride in the 3×3 convolution.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            width = 64 * 2**stage
            layers.append(Bottleneck(channels, width, 2 if block == 0 and stage > 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def make_resnet50(_: Path) -> Subject:
    torch.manual_seed(0)
    model = export(resnet50().eval(), (TensorSpec("image", "float32", ("batch", 3, 224, 224)),))
    return Subject(model, synthesize(model.inputs, 8, seed=1), synthesize(model.inputs, 8, seed=2))


def make_mobilenetv2(_: Path) -> Subject:
    example = ROOT / "examples" / "mobilenetv2"
    project = load_project(example / "model.pth")
    options = IntakeOptions(inputs=project.model.inputs, factory=project.model.factory, search_path=example)
    model = take_in(example / "model.pth", options).model
    assert project.data.calibration is not None
    assert project.data.evaluation is not None
    sets = [load_samples(spec, base=example) for spec in (project.data.calibration, project.data.evaluation)]
    calibration, evaluation = (bind_samples(samples, model.inputs) for samples in sets)
    return Subject(model, calibration, evaluation)


def make_minilm(folder: Path) -> Subject:
    """Return MiniLM's mean token vector for pairs of sentences, 128 tokens; samples are real sentences, joined."""
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("sentiment", ROOT / "examples" / "sentiment" / "network.py")
    assert spec is not None
    assert spec.loader is not None
    sentiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sentiment)
    net = sentiment.SentimentNet(6)
    net.classifier = nn.Identity()
    lacking = net.load_state_dict(load_file(CACHE / "minilm" / "model.safetensors"), strict=False)
    assert not lacking.missing_keys, lacking.missing_keys
    inputs = tuple(TensorSpec(name, "int64", ("batch", TOKENS)) for name in ("input_ids", "attention_mask"))
    model = export(net.eval(), inputs)
    sets = []
    for name, count in (("unlabelled", 256), ("test", 64)):
        path = folder / f"{name}.npz"
        np.savez(path, allow_pickle=False, **join_sentences(CACHE / "sentiment" / f"{name}.npz", count))
        sets.append(bind_samples(load_samples(str(path), base=folder), model.inputs))
    return Subject(model, *sets)


def join_sentences(path: Path, count: int) -> dict[str, np.ndarray]:
    """Return ids and mask [count, 128]: two texts of the file, the second without its first token, then padding."""
    with np.load(path, allow_pickle=False) as stored:
        ids, kept = stored["input_ids"][: 2 * count], stored["attention_mask"][: 2 * count].astype(bool)
    joined, mask = (np.zeros((count, TOKENS), np.int64) for _ in range(2))
    for row in range(count):
        words = np.concatenate([ids[2 * row][kept[2 * row]], ids[2 * row + 1][kept[2 * row + 1]][1:]])[:TOKENS]
        joined[row, : len(words)], mask[row, : len(words)] = words, 1
    return {"input_ids": joined, "attention_mask": mask}


def export(net: nn.Module, inputs: tuple[TensorSpec, ...]) -> Model:
    """Return the graph of a net as the intake leaves it."""
    exported = export_module(net, inputs, load_target("cpu").opset)
    simplify(exported.graph)
    return Model.from_ir(exported.graph)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "mobilenetv2": make_mobilenetv2,
    "resnet50": make_resnet50,
    "minilm": make_minilm,
}
"""What makes each, with a folder for the samples that it writes."""

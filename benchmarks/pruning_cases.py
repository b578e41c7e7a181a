"""Trained nets of the examples as modules and as graphs, with their samples (benchmarks/pruning.py)."""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from compress.data.binding import bind_samples
from compress.data.recipes import load_samples, read_recipe
from compress.data.samples import SampleSet
from compress.data.settings import SampleSettings
from compress.data.subset import take
from compress.intake.export import export_module
from compress.intake.simplify import simplify
from compress.model import Model, TensorSpec
from compress.project import Project, load_project
from compress.quiet import quiet
from compress.resources import data_folder

EXAMPLES = Path(__file__).parent.parent / "examples"
OPSET = 20
HEAD = 32
"""Width of an attention head of the sentiment net."""


@dataclass(frozen=True)
class Case:
    """A trained net as a module and as a graph, and its samples."""

    module: nn.Module
    specs: tuple[TensorSpec, ...]
    model: Model
    calibration: SampleSet
    evaluation: SampleSet

    def example(self) -> tuple[Tensor, ...]:
        """Return one sample of zeros for each input."""
        return tuple(
            torch.zeros(1, *(int(size) for size in spec.shape[1:]), dtype=getattr(torch, spec.dtype))
            for spec in self.specs
        )

    def heads(self, module: nn.Module) -> dict[nn.Module, int]:
        """Return the layers of a copy of the module that make queries, keys and values, with their heads."""
        return {
            part: part.out_features // HEAD
            for name, part in module.named_modules()
            if isinstance(part, nn.Linear) and name.rsplit(".", 1)[-1] in ("query", "key", "value")
        }


def open_case(name: str, *, samples: int, size: int, evaluated: int) -> Case:
    """Return an example's net, its graph and its samples.

    Args:
        name: Of the example's folder.
        samples: Without labels, where there are more.
        size: Pixels of a side, for MobileNetV2.
        evaluated: Samples of the evaluation set, 0 for all.
    """
    folder = EXAMPLES / name
    sys.path.insert(0, str(folder))
    module, specs = NETS[name](folder, size)
    project = load_project(folder / "model")
    calibration, evaluation = _settings(name, project, size, samples)
    model = to_model(module, specs)
    sets = [bind_samples(load_samples(each, base=folder), model.inputs) for each in (calibration, evaluation)]
    return Case(module, specs, model, sets[0], take(sets[1], evaluated) if evaluated else sets[1])


def _settings(name: str, project: Project, size: int, count: int) -> tuple[Any, Any]:
    """Return where the samples come from."""
    calibration, evaluation = project.data.calibration, project.data.evaluation
    assert calibration is not None
    assert evaluation is not None
    if name == "fashion":
        recipe = data_folder("calibration") / "fashion-mnist" / "calibration.toml"
        changes: dict[str, Any] = {
            "source": "cache:fashion-mnist/train-images-idx3-ubyte.gz",
            "labels": None,
            "sha256": {},
            "classes": (),
        }
        return read_recipe(recipe).model_copy(update={**changes, "count": count}), evaluation
    if name == "sentiment":
        return _changed(calibration, count=count), evaluation
    return _resized(calibration, size), _resized(evaluation, size)


def _changed(settings: str | SampleSettings, **changes: object) -> SampleSettings:
    assert isinstance(settings, SampleSettings)
    return settings.model_copy(update=changes)


def _resized(settings: str | SampleSettings, size: int) -> SampleSettings:
    """Return sample settings with images of another size, cut out of the same share of the photo."""
    assert isinstance(settings, SampleSettings)
    table = settings.model_dump(mode="json", exclude_unset=True)
    for transform in table["transform"]:
        if transform["kind"] == "resize":
            transform["shorter"] = round(size * 256 / 224)
        if transform["kind"] == "centre-crop":
            transform["size"] = size
    return SampleSettings.model_validate(table)


def _fashion_net(folder: Path, _: int) -> tuple[nn.Module, tuple[TensorSpec, ...]]:
    from train import FashionNet

    net = FashionNet()
    net.load_state_dict(torch.export.load(folder / "model.pt").state_dict)
    return net.eval(), (TensorSpec("image", "float32", ("batch", 1, 28, 28)),)


def _mobilenet(folder: Path, size: int) -> tuple[nn.Module, tuple[TensorSpec, ...]]:
    from network import mobilenet_v2

    net = mobilenet_v2()
    net.load_state_dict(torch.load(folder / "model.pth", weights_only=True))
    return net.eval(), (TensorSpec("image", "float32", ("batch", 3, size, size)),)


def _sentiment_net(folder: Path, _: int) -> tuple[nn.Module, tuple[TensorSpec, ...]]:
    import network
    from safetensors.torch import load_file

    # The example's attention has its sizes as constants; a cut one has fewer heads.
    network.Attention.forward = _attend
    net = network.sentiment_net()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    names = ("input_ids", "attention_mask")
    return net.eval(), tuple(TensorSpec(name, "int64", ("batch", 64)) for name in names)


def _attend(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Compute the example's self-attention with as many heads as the layer has."""
    query, key, value = (
        layer.self[name](x).unflatten(-1, (-1, HEAD)).transpose(1, 2) for name in ("query", "key", "value")
    )
    scores = query @ key.transpose(-1, -2) / HEAD**0.5 + mask
    context = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return cast("Tensor", layer.output["LayerNorm"](x + layer.output["dense"](context)))


NETS: dict[str, Callable[[Path, int], tuple[nn.Module, tuple[TensorSpec, ...]]]] = {
    "fashion": _fashion_net,
    "mobilenetv2": _mobilenet,
    "sentiment": _sentiment_net,
}


def to_model(module: nn.Module, specs: tuple[TensorSpec, ...]) -> Model:
    """Return the graph of a module as the intake hands it on."""
    with quiet():
        graph = export_module(module.eval(), specs, OPSET).graph
    simplify(graph)
    return Model.from_ir(graph)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy of a module with each BatchNormalization folded into the convolution in front of it."""
    folded = copy.deepcopy(module).eval()
    for sequence in [part for part in folded.modules() if isinstance(part, nn.Sequential)]:
        for index in range(1, len(sequence)):
            convolution, norm = sequence[index - 1], sequence[index]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[index - 1] = nn.utils.fuse_conv_bn_eval(convolution, norm)
                sequence[index] = nn.Identity()
    return folded

"""Small networks of every family, and graphs of them that keep the module's own names."""

import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.intake import IntakeOptions, take_in
from compress.model import Model
from compress.quiet import quiet

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "mobilenetv2"))


class ResidualNet(nn.Module):
    """ResNet-like: stem with max-pooling, two residual blocks, average, linear: [N, 3, 32, 32] → [N, 7]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.narrow = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        self.shortcut = nn.Sequential(nn.Conv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
        self.average = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = torch.relu(self.body(self.narrow(x)) + self.shortcut(x))
        logits: Tensor = self.head(torch.flatten(self.average(x), 1))
        return logits


class VisionTransformer(nn.Module):
    """ViT-like: patches, class token, one block with fused qkv, layer norms, GELU: [N, 3, 16, 16] → [N, 5]."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 17, width))
        self.before, self.between, self.after = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.places
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(seen)
        x = x + self.narrow(functional.gelu(self.wide(self.between(x))))
        logits: Tensor = self.head(self.after(x)[:, 0])
        return logits


class UNet(nn.Module):
    """U-Net-like: down, transposed convolution and bilinear resizing up, skips: [N, 1, 16, 16] → [N, 2, 16, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 8, 3, 1, 1)
        self.third = nn.Conv2d(8, 8, 3, 1, 1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.fourth, self.last = nn.Conv2d(16, 4, 3, 1, 1), nn.Conv2d(8, 2, 1)
        self.group, self.instance = nn.GroupNorm(2, 8), nn.InstanceNorm2d(4, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        one = functional.silu(self.first(x))
        two = functional.leaky_relu(self.group(self.second(functional.max_pool2d(one, 2))))
        x = torch.cat((self.up(torch.relu(self.third(functional.avg_pool2d(two, 2)))), two), 1)
        x = functional.interpolate(self.instance(self.fourth(x)), scale_factor=2.0, mode="bilinear")
        masks: Tensor = torch.sigmoid(self.last(torch.cat((x, one), 1)))
        return masks


class RecurrentNet(nn.Module):
    """A GRU and a bidirectional LSTM one after the other: [N, 6, 4] → [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 5, batch_first=True)
        self.lstm = nn.LSTM(5, 4, bidirectional=True, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(self.gru(x)[0])
        logits: Tensor = self.head(states[:, -1])
        return logits


class RefineNet(nn.Module):
    """R-Net-like (the second network of MTCNN): PReLU, ceiling max-pooling: [N, 3, 24, 24] → [N, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 8, 3), nn.PReLU(8)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(8, 12, 3), nn.PReLU(12)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.dense, self.prelu3, self.head = nn.Linear(12 * 16, 8), nn.PReLU(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x))).permute(0, 3, 2, 1).flatten(1)
        return torch.softmax(self.head(self.prelu3(self.dense(x))), 1)


def _mobilenet() -> nn.Module:
    """Return MobileNetV2 with every kind of block and fewer of each; exporting all of it takes most of a minute."""
    import network

    with patch.object(network, "STAGES", ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2))):
        module: nn.Module = network.MobileNetV2(classes=10)
    return module


@dataclass(frozen=True)
class Architecture:
    """How to make a network, and the shape of one sample."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]


ARCHITECTURES = {
    "resnet": Architecture(ResidualNet, (3, 32, 32)),
    "vit": Architecture(VisionTransformer, (3, 16, 16)),
    "unet": Architecture(UNet, (1, 16, 16)),
    "recurrent": Architecture(RecurrentNet, (6, 4)),
    "rnet": Architecture(RefineNet, (3, 24, 24)),
    "mobilenetv2": Architecture(_mobilenet, (3, 32, 32)),
}


def make_module(name: str) -> nn.Module:
    """Return a network with random weights and statistics that are nobody's defaults, in evaluation mode."""
    torch.manual_seed(0)
    module = ARCHITECTURES[name].make()
    for part in module.modules():
        for key, buffer in part.named_buffers(recurse=False):
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) * 0.5 + (0.75 if key == "running_var" else -0.25))
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.PReLU)):
            for parameter in part.parameters():
                nn.init.uniform_(parameter, 0.5, 1.5)
    return module.eval()


def make_batch(name: str, size: int = 3) -> Tensor:
    """Return samples; the graph was exported with another number of them."""
    return torch.randn((size, *ARCHITECTURES[name].shape), generator=torch.Generator().manual_seed(1))


@cache
def unfolded_model(name: str) -> Model:
    """Return the graph as exported without optimisation: initializers have the names of the state dict."""
    example = torch.zeros((2, *ARCHITECTURES[name].shape))
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            make_module(name), (example,), dynamo=True, optimize=False, verbose=False, external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},), input_names=["x"], output_names=["y"],
        )  # fmt: skip
    assert program is not None
    return Model.from_ir(ir.from_proto(program.model_proto))


@cache
def folded_model(name: str) -> Model:
    """Return the same graph as the intake hands it on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(unfolded_model(name).to_bytes())
        return take_in(path, IntakeOptions()).model

"""MobileNetV2 under torchvision's parameter names, so that its published ImageNet weights load as they are.

Source: M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018, table 2.
"""

from torch import Tensor, nn

# Expansion, output channels, repeats, stride of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_bn_relu(channels: int, out: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU6: [N, C, H, W] -> [N, D, H/stride, W/stride]."""
    return nn.Sequential(
        nn.Conv2d(channels, out, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, project: [N, C, H, W] -> [N, D, H/stride, W/stride]."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels * expansion
        self.residual = stride == 1 and channels == out
        expand = [conv_bn_relu(channels, width, size=1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_bn_relu(width, width, stride=stride, groups=width),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features [N, D, H/stride, W/stride]."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Classifier of normalised RGB images: [N, 3, 224, 224] -> logits [N, 1000]."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv_bn_relu(3, 32, stride=2)]
        channels = 32
        for expansion, out, repeats, first_stride in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, out, first_stride if repeat == 0 else 1, expansion))
                channels = out
        self.features = nn.Sequential(*blocks, conv_bn_relu(channels, 1280, size=1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits [N, 1000]."""
        logits: Tensor = self.classifier(self.features(image).mean(dim=(2, 3)))
        return logits


def mobilenet_v2() -> MobileNetV2:
    """Return the network without weights; ``compress`` loads the state dict into it."""
    return MobileNetV2()

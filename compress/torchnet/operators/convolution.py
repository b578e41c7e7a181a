"""Convolutions."""

from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.padding import read_padding

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def _conv(node: Node) -> Kernel:
    """[N, C, spatial…] with weights [D, C/group, kernel…] → [N, D, spatial…]."""
    groups = node.attributes.integer("group", 1)
    strides, dilations = node.attributes.integers("strides"), node.attributes.integers("dilations")
    padding = read_padding(node)
    node.attributes.skip("kernel_shape")

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        stride, dilation = strides or (1,) * rank, dilations or (1,) * rank
        x, pads = padding.apply(x, weight.shape[2:], stride, dilation)
        return _CONVOLUTIONS[rank](x, weight, bias, stride, pads, dilation, groups)

    return convolve


OPERATORS: dict[str, Factory] = {
    "Conv": _conv,
}

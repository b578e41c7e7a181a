"""Padding of convolutions and poolings as ONNX states it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from compress.torchnet.operators import Node, OperatorError


@dataclass(frozen=True, slots=True)
class Padding:
    """Explicit pads (begin of each spatial axis, then end of each), or a rule that finds them from the size.

    Attributes:
        pads: For two axes ``(top, left, bottom, right)``; None for no padding.
        rule: ``NOTSET``, ``VALID``, ``SAME_UPPER`` or ``SAME_LOWER``.
    """

    pads: tuple[int, ...] | None
    rule: str

    def resolve(
        self, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return pads before and after each spatial axis."""
        rank = len(kernel)
        if self.rule == "VALID" or (self.rule == "NOTSET" and self.pads is None):
            return (0,) * rank, (0,) * rank
        if self.rule == "NOTSET" and self.pads is not None:
            return self.pads[:rank], self.pads[rank:]
        totals = [
            max((-(-length // step) - 1) * step + (width - 1) * gap + 1 - length, 0)
            for length, width, step, gap in zip(size, kernel, stride, dilation, strict=True)
        ]
        smaller, larger = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        return (smaller, larger) if self.rule == "SAME_UPPER" else (larger, smaller)

    def apply(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float = 0.0
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Return a tensor and the symmetric pads that are left to do; uneven ones are done here with ``value``."""
        before, after = self.resolve(x.shape[2:], kernel, stride, dilation)
        if before == after:
            return x, before
        both = [pad for pair in zip(reversed(before), reversed(after), strict=True) for pad in pair]
        return functional.pad(x, both, value=value), (0,) * len(before)


def read_padding(node: Node) -> Padding:
    """Return the padding that the attributes of a convolution or pooling state.

    Raises:
        OperatorError: ``auto_pad`` is none of ONNX's words, or a pad is negative.
    """
    rule, pads = node.attributes.text("auto_pad", "NOTSET"), node.attributes.integers("pads")
    if rule not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise OperatorError(f"{node.op_type} `{node.name}` has auto_pad `{rule}`", hint="That is not valid ONNX.")
    if pads is not None and min(pads, default=0) < 0:
        raise OperatorError(f"{node.op_type} `{node.name}` has negative pads {pads}", hint="That is not valid ONNX.")
    return Padding(pads, rule)


def output_size(length: int, before: int, after: int, span: int, stride: int, *, ceil: bool) -> int:
    """Return how many windows of ``span`` elements fit; one that would start behind the input does not count."""
    free = length + before + after - span
    count = (-(-free // stride) if ceil else free // stride) + 1
    return count - 1 if ceil and (count - 1) * stride >= length + before else count


def windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return a view of all windows: [N, C, H, W], kernel 3 × 3, stride 2 → [N, C, (H - 1) / 2, (W - 1) / 2, 3, 3]."""
    for axis, (width, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, (width - 1) * gap + 1, step)[..., ::gap]
    return x

"""Which inputs a kernel reads as Python numbers: they stay on the host, the others are brought to one device."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compress.torchnet.operators import Kernel

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

SHAPING: Mapping[str, tuple[int, ...]] = {
    **{f"Reduce{name}": (1,) for name in _REDUCTIONS},
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Input positions whose values decide the shape of the result."""

_ALSO_READ: Mapping[str, tuple[int, ...]] = {
    "CastLike": (0, 1),
    "Clip": (1, 2),
    "CumSum": (1,),
    "Gather": (1,),
    "If": (0,),
    "Loop": (0, 1),
    "NonMaxSuppression": (2, 3, 4),
    "Pad": (1, 2, 3),
    "Pow": (1,),
    "Trilu": (1,),
}

READ: Mapping[str, tuple[int, ...]] = {**SHAPING, **_ALSO_READ}
"""Input positions that a kernel reads as Python numbers, or takes from any device."""


def together(op_type: str, kernel: Kernel) -> Kernel:
    """Return a kernel that first brings its inputs to one device, but for those that it reads on the host."""
    kept = frozenset(READ.get(op_type, ()))

    def moves(index: int, value: Any) -> bool:
        return isinstance(value, Tensor) and index not in kept

    def run(*inputs: Any) -> Any:
        devices = (value.device for index, value in enumerate(inputs) if moves(index, value))
        target = next((device for device in devices if device.type != "cpu"), None)
        if target is None:
            return kernel(*inputs)
        return kernel(*(value.to(target) if moves(index, value) else value for index, value in enumerate(inputs)))

    return run

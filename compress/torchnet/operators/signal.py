"""Fourier transforms, windows and mel filters of speech front ends."""

from collections.abc import Callable

import torch
from torch import Tensor

from compress.torchnet.operators import Factory, Kernel, Node
from compress.torchnet.operators.reading import axis_of, torch_dtype

_FLOAT = 1


def _dft(node: Node) -> Kernel:
    inverse = bool(node.attributes.integer("inverse", 0))
    onesided = bool(node.attributes.integer("onesided", 0))
    fixed = node.attributes.integer("axis", 1) if node.opset < 20 else -2

    def dft(x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
        dim = axis_of(fixed if axis is None else int(axis), x.dim())
        points = None if length is None else int(length)
        signal = _complex(x)
        if inverse:
            if onesided:
                real: Tensor = torch.fft.irfft(signal, points, dim)
                return real.unsqueeze(-1)
            return torch.view_as_real(torch.fft.ifft(signal, points, dim))
        transform = torch.fft.rfft if onesided else torch.fft.fft
        return torch.view_as_real(transform(signal, points, dim))

    return dft


def _complex(x: Tensor) -> Tensor:
    """Return what [..., 1] (real) or [..., 2] (real and imaginary parts) stands for."""
    return x.squeeze(-1) if x.shape[-1] == 1 else torch.view_as_complex(x.contiguous())


def _stft(node: Node) -> Kernel:
    onesided = bool(node.attributes.integer("onesided", 1))

    def stft(x: Tensor, step: Tensor, window: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        signal = x if x.dim() == 2 else _complex(x)
        default = signal.shape[1] if window is None else window.shape[0]
        frames = signal.unfold(1, default if length is None else int(length), int(step))
        if window is not None:
            frames = frames * window
        transform = torch.fft.rfft if onesided else torch.fft.fft
        return torch.view_as_real(transform(frames, dim=-1))

    return stft


def _window(make: Callable[[int, bool], Tensor]) -> Factory:
    def factory(node: Node) -> Kernel:
        periodic = bool(node.attributes.integer("periodic", 1))
        dtype = torch_dtype(node, node.attributes.integer("output_datatype", _FLOAT))
        return lambda size: make(int(size), periodic).to(dtype)

    return factory


def _hann(size: int, periodic: bool) -> Tensor:
    return torch.hann_window(size, periodic, dtype=torch.float64)


def _hamming(size: int, periodic: bool) -> Tensor:
    return torch.hamming_window(size, periodic, alpha=25 / 46, beta=21 / 46, dtype=torch.float64)


def _blackman(size: int, periodic: bool) -> Tensor:
    return torch.blackman_window(size, periodic, dtype=torch.float64)


def _mel_weight_matrix(node: Node) -> Kernel:
    dtype = torch_dtype(node, node.attributes.integer("output_datatype", _FLOAT))

    def mel_weights(bins: Tensor, dft_length: Tensor, rate: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return mel_filters(int(bins), int(dft_length), int(rate), float(low), float(high)).to(dtype)

    return mel_weights


def mel_filters(bins: int, dft_length: int, sample_rate: int, low_hertz: float, high_hertz: float) -> Tensor:
    """Return triangular filters, float64 of shape [dft_length // 2 + 1, bins].

    Source: ONNX operator MelWeightMatrix; mel(f) = 2595 log10(1 + f / 700).
    """
    ends = torch.log10(1 + torch.tensor([low_hertz, high_hertz], dtype=torch.float64) / 700) * 2595
    mels = ends[0] + torch.arange(bins + 2, dtype=torch.float64) * (ends[1] - ends[0]) / (bins + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    edges = torch.floor((dft_length + 1) * hertz / sample_rate)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    spectrum = torch.arange(dft_length // 2 + 1, dtype=torch.float64).unsqueeze(1)
    # A side without width is a step: the filter is 1 at its centre.
    rising = torch.where(centre > lower, (spectrum - lower) / (centre - lower), (spectrum >= centre).to(torch.float64))
    falling = torch.where(upper > centre, (upper - spectrum) / (upper - centre), (spectrum <= centre).to(torch.float64))
    return torch.minimum(rising, falling).clamp(min=0.0)


OPERATORS: dict[str, Factory] = {
    "BlackmanWindow": _window(_blackman),
    "DFT": _dft,
    "HammingWindow": _window(_hamming),
    "HannWindow": _window(_hann),
    "MelWeightMatrix": _mel_weight_matrix,
    "STFT": _stft,
}

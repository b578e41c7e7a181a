"""Speech front ends: transforms beside PyTorch's, filters beside ONNX's own reference."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference.ops.op_mel_weight_matrix import MelWeightMatrix
from single_operator import kernel_of, run_kernel, run_onnxruntime

SIGNAL = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_a_window_equals_onnx_runtime(name: str, periodic: int) -> None:
    size = np.array(9, np.int64)

    (ours,) = run_kernel(name, size, periodic=periodic)

    np.testing.assert_allclose(ours, run_onnxruntime(name, size, periodic=periodic)[0], atol=2e-6)


@pytest.mark.parametrize("onesided", [0, 1])
def test_frames_are_transformed_as_pytorch_does(onesided: int) -> None:
    window = torch.hann_window(16)
    kernel = kernel_of("STFT", inputs=3, onesided=onesided)

    expected = torch.stft(SIGNAL, 16, 4, window=window, center=False, onesided=bool(onesided), return_complex=True)

    ours = torch.view_as_complex(kernel(SIGNAL.unsqueeze(-1), torch.tensor(4), window))
    torch.testing.assert_close(ours, expected.transpose(1, 2))


def test_frames_need_no_window_and_may_be_complex() -> None:
    signal = torch.view_as_real(torch.complex(SIGNAL, SIGNAL.flip(1)))
    kernel = kernel_of("STFT", inputs=4, onesided=0)

    ours = torch.view_as_complex(kernel(signal, torch.tensor(8), None, torch.tensor(16)))

    expected = torch.fft.fft(torch.view_as_complex(signal).unfold(1, 16, 8))
    torch.testing.assert_close(ours, expected)


def test_a_transform_may_be_cut_or_extended_and_undone() -> None:
    forward, backward = kernel_of("DFT", inputs=3, onesided=1), kernel_of("DFT", inputs=3, onesided=1, inverse=1)
    length, axis = torch.tensor(32), torch.tensor(1)

    spectrum = forward(SIGNAL.unsqueeze(-1), length, axis)

    torch.testing.assert_close(torch.view_as_complex(spectrum), torch.fft.rfft(SIGNAL, 32))
    torch.testing.assert_close(backward(spectrum, length, axis).squeeze(-1), SIGNAL[:, :32])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    bins=st.integers(1, 40),
    length=st.sampled_from((64, 400, 512)),
    rate=st.sampled_from((8000, 16000)),
    low=st.floats(0, 300),
    high=st.floats(1000, 3900),
)
def test_mel_filters_equal_the_reference(bins: int, length: int, rate: int, low: float, high: float) -> None:
    reference: Any = MelWeightMatrix._run
    expected = reference(None, bins, length, rate, low, high)[0]
    inputs = [*(np.array(value, np.int64) for value in (bins, length, rate)), np.array(low), np.array(high)]

    (ours,) = run_kernel("MelWeightMatrix", *inputs)

    np.testing.assert_allclose(ours, expected, atol=1e-6)

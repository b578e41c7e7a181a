"""PyTorch's chatter kept off the terminal, and its errors cut down to their reason."""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator

_LOGGERS = ("torch.onnx", "torch.export", "torch._export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")

_NOISE: tuple[tuple[type[Warning], str], ...] = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (DeprecationWarning, r"`torch\.jit\.\w+` is (deprecated|not supported)"),
    (DeprecationWarning, r"You are using the legacy TorchScript-based ONNX export"),
    (DeprecationWarning, r"The feature will be removed"),
    (UserWarning, r"Exporting a model to ONNX with a batch_size other than 1"),
    (UserWarning, r"# 'dynamic_axes' is not recommended"),
    (UserWarning, r"The given NumPy array is not writable"),
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the log lines of PyTorch's exporters, and the warnings that a user can do nothing about, to themselves."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            for category, message in _NOISE:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def first_reason(error: BaseException) -> str:
    """Return the root cause of a chain of exceptions, in one line of at most 300 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = (line.strip() for line in str(error).splitlines())
    line = next((line for line in lines if re.search(r"\w", line)), type(error).__name__)
    return line if len(line) <= 300 else f"{line[:297]}..."

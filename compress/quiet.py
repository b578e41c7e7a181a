"""PyTorch's chatter kept off the terminal, and its errors cut down to their reason."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

_NOISE: tuple[tuple[type[Warning], str], ...] = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (DeprecationWarning, r"`torch\.jit\.\w+` is (deprecated|not supported)"),
    (DeprecationWarning, r"You are using the legacy TorchScript-based ONNX export"),
    (DeprecationWarning, r"The feature will be removed"),
    (UserWarning, r"Exporting a model to ONNX with a batch_size other than 1"),
    (UserWarning, r"# 'dynamic_axes' is not recommended"),
    (UserWarning, r"Detected pickle protocol \d+ in the checkpoint"),
    (UserWarning, r"The tensor attributes? .* assigned during export"),
    (UserWarning, r"The given NumPy array is not writable"),
)


_PREAMBLE = re.compile(r"Constraints violated|Failed to export the model")
"""Lines that announce a reason without giving it."""


_ADVICE = re.compile(r"^- |\.? If you're using mark_dynamic.*|\.$")
"""Advice on PyTorch's own functions, which the user did not call."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to themselves what PyTorch's exporters log and print, and the warnings that a user can do nothing about."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            for category, message in _NOISE:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logging.disable(disabled)


def first_reason(error: BaseException) -> str:
    """Return the root cause of a chain of exceptions, in one line of at most 300 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = (line.strip() for line in str(error).splitlines())
    told = (line for line in lines if re.search(r"\w", line) and not _PREAMBLE.match(line))
    line = _ADVICE.sub("", next(told, type(error).__name__))
    return line if len(line) <= 300 else f"{line[:297]}..."

"""A small project that the command line can run in a second."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import helper
from small_graphs import build

from compress.data.recipes import load_samples
from compress.model import Model
from compress.resources import data_folder

FASHION = data_folder("calibration") / "fashion-mnist"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Compress = Callable[..., Outcome]


def nearest_mean_classifier(outlier: float = 0.0) -> Model:
    """Return a classifier by the nearest class mean: image [batch, 1, 28, 28] → logits [batch, 10].

    Args:
        outlier: A hidden unit with this constant value that no output reads: it stretches the range of the hidden
            activations, so that INT8 loses what the others say.
    """
    samples = load_samples("fashion-mnist/calibration", base=Path())
    batch = next(iter(samples.batches(1024)))
    assert batch.labels is not None
    images = next(iter(batch.inputs.values())).reshape(1024, -1).astype(np.float64)
    means = np.stack([images[batch.labels == label].mean(0) for label in range(10)])
    hidden = np.zeros((11, 784), np.float32)
    hidden[:10] = means / 100
    offset = np.append(-(means**2).sum(1) / 200, outlier).astype(np.float32)
    identity = np.eye(10, 11, dtype=np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "hidden", "offset"], ["h"], "hidden_layer", transB=1),
        helper.make_node("Gemm", ["h", "identity"], ["logits"], "head", transB=1),
    ]
    constants = {"hidden": hidden, "offset": offset, "identity": identity}
    return build(nodes, constants, ["batch", 1, 28, 28], ["logits"])


def change_a_byte(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


BOARD = """
name = "board"
description = "A board of the tests"
runtime = "{runtime}"
precisions = ["float32", "int8"]
"""

PROJECT = """
[data]
calibration = "calibration.toml"
evaluation = "evaluation.toml"
"""

RECIPE = """
source = "{source}"
labels = "{labels}"
count = {count}
transform = [
    {{ kind = "scale" }},
    {{ kind = "normalise", mean = [0.2860], std = [0.3530] }},
    {{ kind = "layout", to = "add-channel" }},
]
"""

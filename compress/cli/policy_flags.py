"""The flags that say what the ``[gate]`` table says."""

import argparse
from collections.abc import Mapping
from typing import Final

FLAGS: Final = {
    "preset": ("NAME", "mlperf-99 or mlperf-99.9: percent of the original's metric that must remain"),
    "max_drop": ("POINTS", "accuracy that may be lost (default 1.0)"),
    "max_drop_relative": ("PERCENT", "share of the original's metric that may be lost"),
    "max_class_drop": ("POINTS", "accuracy that any class may lose"),
    "max_slice_drop": ("POINTS", "accuracy that any slice of the samples may lose"),
    "max_flip_rate": ("PERCENT", "samples that the original may have right and the engine wrong"),
    "max_calibration_error_change": ("POINTS", "growth of the expected calibration error"),
    "max_latency": ("TIME", "what the p99 may take: 8ms, 500us"),
    "max_p99": ("TIME", "the same"),
    "min_speedup": ("RATIO", "least ratio to the original's median latency: 1.5"),
    "max_size": ("SIZE", "what the engine may have: 5MB, 512KiB"),
    "max_memory": ("SIZE", "peak of the memory: 64MiB"),
    "max_energy": ("ENERGY", "what a call may take: 5mJ"),
    "require": ("simulated|measured", "whether a simulated accuracy may decide"),
    "confidence": ("SHARE", "of every interval (default 0.95)"),
    "inconclusive": ("fail|undecided|pass", "what an interval on both sides of its limit is (default undecided)"),
}
"""Metavar and help of each key."""
REGRESSION: Final = {
    "max_accuracy_regression": ("POINTS", "accuracy that may be lost against the baseline (default 0.5)"),
    "max_latency_regression": ("PERCENT", "how much slower than the baseline it may be (default 10)"),
}


def add_policy_flags(group: "argparse._ActionsContainer", flags: Mapping[str, tuple[str, str]]) -> None:
    """Add a flag for each key; values stay text, the policy reads them."""
    for key, (metavar, text) in flags.items():
        group.add_argument(f"--{key.replace('_', '-')}", metavar=metavar, help=text)


def given_limits(options: argparse.Namespace, flags: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    """Return what was typed, by key of the policy."""
    return {key: value for key in flags if (value := getattr(options, key)) is not None}

"""What it costs to count an activation: our streaming histogram beside NumPy's and PyTorch's.

    python benchmarks/histogram.py

Prints nanoseconds per value, one thread, the best of seven runs in turns. The
other two need the range first, ours does not.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from compress.quantize.histogram import Histogram

SHAPE = (8, 96, 56, 56)
ROUNDS = 7


def main() -> None:
    torch.set_num_threads(1)
    values = np.maximum(np.random.default_rng(0).standard_normal(SHAPE, np.float32), 0)
    flat, tensor = values.reshape(-1), torch.from_numpy(values.reshape(-1))
    contestants: dict[str, Callable[[], object]] = {
        "Histogram.observe (one pass, any range)": lambda: Histogram().observe(values),
        "numpy.histogram (range known)": lambda: np.histogram(flat, 2048, (0.0, 6.0)),
        "torch.histc (range known)": lambda: torch.histc(tensor, 2048, 0.0, 6.0),
        "min and max only": lambda: (flat.min(), flat.max()),
    }
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(ROUNDS):
        for name, call in contestants.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items():
        print(f"{1e9 * seconds / flat.size:6.2f} ns  {name}")


if __name__ == "__main__":
    main()

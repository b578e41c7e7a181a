"""Write the vendored sample set: 1,024 class-balanced calibration images, and the test set as it is.

The exact commands that made the files in ``calibration/fashion-mnist/``::

    python examples/fetch.py fashion-mnist
    python examples/fashion/make_calibration.py --seed 0

The calibration images are of the training set only: 102 of each class, and 103 of the first four, in the training set's
order. Equal seeds give equal samples; equal bytes also need the same version of zlib.
"""

import argparse
import gzip
import hashlib
import io
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CACHE = Path(os.environ.get("COMPRESS_CACHE") or Path.home() / ".cache" / "edge-compress") / "fashion-mnist"
TARGET = Path(__file__).parents[2] / "calibration" / "fashion-mnist"
CLASSES, COUNT = 10, 1024
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return a gzipped idx file of bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">u4", raw[3], 4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write bytes as a gzipped idx file without a time stamp or a name in it."""
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(header + array.tobytes())
    path.write_bytes(packed.getvalue())


def pick_balanced(labels: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int64]:
    """Return ``count`` ascending indices with as equal numbers of each class as possible."""
    generator = np.random.default_rng(seed)
    quotas = [count // CLASSES + (number < count % CLASSES) for number in range(CLASSES)]
    picked = [
        generator.choice(np.flatnonzero(labels == number), quota, replace=False) for number, quota in enumerate(quotas)
    ]
    return np.sort(np.concatenate(picked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    if not (CACHE / "train-images-idx3-ubyte.gz").exists():
        raise SystemExit("the data set is not there: run `python examples/fetch.py fashion-mnist` first")
    options.out.mkdir(parents=True, exist_ok=True)
    labels = read_idx(CACHE / "train-labels-idx1-ubyte.gz")
    picked = pick_balanced(labels, COUNT, options.seed)
    write_idx(options.out / "calibration-labels-idx1-ubyte.gz", labels[picked])
    write_idx(options.out / "calibration-images-idx3-ubyte.gz", read_idx(CACHE / "train-images-idx3-ubyte.gz")[picked])
    for name in TEST_FILES:
        shutil.copyfile(CACHE / name, options.out / name)
    for path in sorted(options.out.glob("*.gz")):
        print(f'"{path.name}" = "{hashlib.sha256(path.read_bytes()).hexdigest()}"')


if __name__ == "__main__":
    main()

"""The sample sets that ship: Fashion-MNIST."""

import gzip
import tomllib
from pathlib import Path

import numpy as np
from sample_reading import join

from compress.data.binding import bind_samples
from compress.data.overlap import count_overlap
from compress.data.recipes import list_recipes, load_samples
from compress.data.subset import take
from compress.model import TensorSpec
from compress.resources import data_folder

HERE = Path(__file__).parent
FOLDER = data_folder("calibration") / "fashion-mnist"
IMAGE = (TensorSpec("image", "float32", ("batch", 1, 28, 28)),)


def test_both_recipes_are_listed() -> None:
    assert {"fashion-mnist/calibration", "fashion-mnist/test"} <= set(list_recipes())


def test_the_test_set_is_whole_and_balanced() -> None:
    samples = load_samples("fashion-mnist/test", base=HERE)
    batch = join(bind_samples(samples, IMAGE), 1000)
    assert batch.inputs["image"].shape == (10_000, 1, 28, 28)
    assert batch.labels is not None
    assert np.bincount(batch.labels).tolist() == [1000] * 10
    # Mean and deviation of the training images, which the recipe normalises by, hold for the test images too.
    assert abs(float(batch.inputs["image"].mean())) < 0.01
    assert abs(float(batch.inputs["image"].std()) - 1) < 0.01


def test_calibration_is_balanced_and_shares_no_image_with_the_test_set() -> None:
    calibration = load_samples("fashion-mnist/calibration", base=HERE)
    labels = join(calibration, 256).labels
    assert labels is not None
    assert np.bincount(labels).tolist() == [103] * 4 + [102] * 6
    assert len(calibration.sample_digests()) == 1024
    assert count_overlap(calibration, load_samples("fashion-mnist/test", base=HERE)) == 0


def test_pixels_are_normalised_as_the_training_script_does() -> None:
    raw = gzip.decompress((FOLDER / "t10k-images-idx3-ubyte.gz").read_bytes())[16 : 16 + 784]
    expected = (np.frombuffer(raw, np.uint8) / 255 - 0.2860) / 0.3530
    found = join(take(load_samples("fashion-mnist/test", base=HERE), 1)).inputs["image"]
    np.testing.assert_allclose(found.ravel().astype(np.float64), expected, rtol=1e-5, atol=1e-6)


def test_the_calibration_files_carry_no_time_stamp() -> None:
    for path in FOLDER.glob("calibration-*.gz"):
        assert path.read_bytes()[4:8] == bytes(4)


def test_no_vendored_file_is_large_and_the_licence_is_there() -> None:
    assert all(path.stat().st_size < 5_000_000 for path in FOLDER.iterdir())
    licence = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE" in licence
    for name in ("calibration", "test"):
        recipe = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
        assert recipe["license"] == "MIT"
        assert set(recipe["sha256"]) == {recipe["source"], recipe["labels"]}

from pathlib import Path

import pytest

from compress.errors import ConfigError, UsageError
from compress.model import TensorSpec
from compress.project import load_project, parse_input, require_files


def test_a_timing_cache_is_found_beside_the_file_and_known_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "compress.toml").write_text('[engine]\ntiming_cache = "t4.cache"\ndla = true')
    with pytest.raises(ConfigError, match=r"`engine.timing_cache`: .*t4.cache does not exist") as caught:
        require_files(load_project(tmp_path / "model.pt"))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("begin with an empty file: touch ")
    (tmp_path / "t4.cache").write_bytes(b"")
    require_files(load_project(tmp_path / "model.pt"))
    build = load_project(tmp_path / "model.pt").build
    assert build.timing_cache == tmp_path / "t4.cache"
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert build.describe() == {"ranges": {}, "dla": True, "timing_cache": {"name": "t4.cache", "sha256": empty}}


def test_a_model_without_a_project_file_has_defaults(tmp_path: Path) -> None:
    project = load_project(tmp_path / "model.pt")
    assert (project.model.inputs, project.data.calibration, project.data.metric) == ((), None, "top1")


def test_every_table_of_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "compress.toml").write_text(
        """
        [model]
        inputs = { image = { shape = ["batch", 3, 224, 224] }, size = { shape = [2], dtype = "int64" } }
        factory = "network:make"
        ranges = { sequence = [1, 128, 512] }
        [data]
        calibration = { source = "train", count = 10 }
        evaluation = "val"
        metric = "f1"
        [gate]
        max_drop = 0.5
        max_latency = "8ms"
        """
    )
    project = load_project(tmp_path / "model.pt")
    assert project.model.inputs == (
        TensorSpec("image", "float32", ("batch", 3, 224, 224)),
        TensorSpec("size", "int64", (2,)),
    )
    assert project.model.factory == "network:make"
    assert project.build.describe() == {"ranges": {"sequence": {"min": 1, "opt": 128, "max": 512}}, "dla": False}
    assert not isinstance(project.data.calibration, str)
    assert project.data.evaluation == "val"
    assert (project.gate.max_drop, project.gate.max_latency) == (0.5, 0.008)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]", "modle"),
        ('[data]\nmetrics = "top1"', "metrics"),
        ("[data]\nmetric = 1", "metric"),
        ('[data]\ncalibration = { sourc = "train" }', "sourc"),
        ("[gate]\nmax_drop = -1", "max_drop"),
        ("[model.ranges]\nsequence = [1, 128, 64]", "ranges.sequence"),
        ('[model]\ninputs = { image = { dtype = "float32" } }', "shape"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "compress.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_project(tmp_path / "model.pt")
    assert "compress.toml" in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


def test_an_input_flag_gives_name_shape_and_type() -> None:
    assert parse_input("image=batch,3,224,224:float16") == TensorSpec("image", "float16", ("batch", 3, 224, 224))
    assert parse_input("ids=batch,seq:int64").shape == ("batch", "seq")
    assert parse_input("x=1,4").dtype == "float32"


@pytest.mark.parametrize("text", ["image", "=1,2", "image=", "image=1,,2", "image=1,2:floatish"])
def test_an_input_flag_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--input"):
        parse_input(text)

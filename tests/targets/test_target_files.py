from pathlib import Path

import pytest

from compress import machine
from compress.errors import ConfigError, TargetError, UsageError
from compress.resources import data_folder
from compress.targets import Target, load_target, load_targets, read_target

EXPECTED = {
    *("cpu", "x86-avx2", "x86-vnni", "x86-amx", "raspberry-pi-4", "raspberry-pi-5"),
    *("jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-thor"),
    *(
        "rtx-turing",
        "rtx-ampere",
        "rtx-ada",
        "rtx-blackwell",
        "rtx-any",
        "rtx-onnxruntime",
        "l4-onnxruntime",
        "t4",
        "a10",
        "l4",
    ),
}
MINIMAL = """\
name = "probe"
description = "A device for tests."
runtime = "onnxruntime"
isa = "x86-avx2"
precisions = ["float32", "int8"]
"""


def write(folder: Path, text: str, name: str = "probe") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_promised_device_is_there() -> None:
    assert {target.name for target in load_targets()} >= EXPECTED


def test_names_and_aliases_are_unique() -> None:
    names = [name for target in load_targets() for name in (target.name, *target.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("target", load_targets(), ids=lambda target: target.name)
def test_every_number_says_where_it_is_from(target: Target) -> None:
    sources = [peak.source for peak in target.peaks] + ([target.memory.source] if target.memory else [])
    assert all(any(mark in source for mark in ("data sheet", "brief", "Derived")) for source in sources)
    assert all(source.endswith(".") for source in sources)


@pytest.mark.parametrize("target", load_targets(), ids=lambda target: target.name)
def test_int8_is_faster_than_float_in_every_data_sheet(target: Target) -> None:
    peaks = {peak.precision: peak.operations_per_second for peak in target.peaks}
    if {"int8", "float32"} <= peaks.keys():
        assert peaks["int8"] >= 4 * peaks["float32"]
    if {"int8", "float16"} <= peaks.keys():
        assert peaks["int8"] == pytest.approx(2 * peaks["float16"], rel=0.01)


@pytest.mark.parametrize("target", load_targets(), ids=lambda target: target.name)
def test_gpu_targets_have_a_capability_and_kits_a_nearest_one(target: Target) -> None:
    if target.runtime in ("tensorrt", "tensorrt_rtx"):
        assert target.compute_capabilities
        assert target.dialect == "s8s8-symmetric"
    assert (target.nearest is not None) == (target.runtime == "tensorrt")


def test_jetson_means_the_orin_nano() -> None:
    assert load_target("jetson").name == "jetson-orin-nano"


def test_cpu_gets_the_instruction_set_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "detect_isa", lambda: "x86-avx2")
    target = load_target("cpu")
    assert (target.isa, target.dialect) == ("x86-avx2", "u8s8-7bit")


def test_a_machine_that_does_not_tell_is_told_to_name_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "detect_isa", lambda: None)
    monkeypatch.setattr(machine, "cpu_name", lambda: "Old CPU")
    with pytest.raises(TargetError, match=r"target `cpu`: the instruction set of this CPU \(Old CPU\)") as caught:
        load_target("cpu")
    assert caught.value.hint is not None
    assert "x86-vnni" in caught.value.hint


def test_an_unknown_name_gets_the_nearest_one_suggested() -> None:
    with pytest.raises(UsageError, match="unknown target `jetsom`") as caught:
        load_target("jetsom")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Did you mean `jetson`?")


def test_a_file_is_read(tmp_path: Path) -> None:
    assert read_target(write(tmp_path, MINIMAL)).precisions == ("float32", "int8")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (MINIMAL + 'bord = "x"\n', "probe.toml: unknown key `bord`", "Did you mean `board`?"),
        (MINIMAL + "opset = 9\n", "probe.toml: `opset`", "correct"),
        (MINIMAL.replace("x86-avx2", "x86-sse"), "probe.toml: `isa", "correct"),
        (MINIMAL.replace('runtime = "onnxruntime"\n', ""), "probe.toml: `runtime`", "correct"),
        (MINIMAL.replace('isa = "x86-avx2"\n', ""), "probe.toml: `isa` is missing", "add isa"),
        (MINIMAL.replace('"onnxruntime"', '"tensorrt"'), "probe.toml: `compute_capability` is missing", "add compute"),
        (MINIMAL.replace('"probe"', '"other"'), "probe.toml: `name`: it is 'other'", "rename the file"),
        (MINIMAL + "[memory]\nbytes = 1\n", "probe.toml: `memory.source`", "correct"),
        ("name = \n", "probe.toml is not valid TOML", "line"),
        (
            MINIMAL + 'compute_capability = ["8.6", "8.6"]',
            "probe.toml: `compute_capability`: Value error, it must",
            "corr",
        ),
        (MINIMAL + "compute_capability = 8.6", "probe.toml: `compute_capability`: Value error, it must be", "correct"),
        (MINIMAL + "compute_capability = []", "probe.toml: `compute_capability`: Value error, it must be", "correct"),
        (
            MINIMAL.replace('"onnxruntime"', '"onnxruntime_gpu"') + 'compute_capability = "8.6"',
            "probe.toml: `provider` is missing: the runtime onnxruntime_gpu needs it",
            "add provider as in another file",
        ),
        (
            MINIMAL.replace('"onnxruntime"', '"tensorrt"') + 'compute_capability = ["8.6", "8.9"]',
            "`compute_capability`: the runtime tensorrt builds an engine for one GPU only",
            "one target file for each GPU",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_target(write(tmp_path, text))
    assert message in caught.value.message
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_an_engine_may_be_for_one_gpu_or_for_several() -> None:
    assert load_target("rtx-ada").compute_capabilities == ("8.9",)
    assert load_target("rtx-any").compute_capabilities == ("7.5", "8.6", "8.9", "12.0")
    assert load_target("x86-vnni").compute_capabilities == ()


def test_a_target_for_several_gpus_promises_only_what_each_has() -> None:
    several = load_target("rtx-any")
    for name in ("rtx-turing", "rtx-ampere", "rtx-ada", "rtx-blackwell"):
        one = load_target(name)
        assert set(several.precisions) <= set(one.precisions)
        assert set(several.sparsity) <= set(one.sparsity)


def test_a_test_runtime_needs_no_device(tmp_path: Path) -> None:
    text = MINIMAL.replace('"onnxruntime"', '"null"').replace('isa = "x86-avx2"\n', "")
    assert read_target(write(tmp_path, text)).runtime == "null"


def test_no_target_file_is_left_out() -> None:
    assert len(load_targets()) == len(list(data_folder("targets").glob("*.toml")))

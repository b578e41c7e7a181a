import platform
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from qdq_graphs import samples

from compress.devices.cpus import EmulatedCpu
from compress.devices.facts import describe_bounds, describe_emulated
from compress.devices.qemu import Launch
from compress.devices.session import EmulatedSession, open_emulated
from compress.errors import TargetError
from compress.runtimes import open_graph


@pytest.mark.usefixtures("native")
def test_the_worker_computes_what_a_session_here_computes(haswell: EmulatedCpu, engine: Path) -> None:
    feed = {"x": samples(3, 2, 8, 8)}
    with open_graph(engine, threads=1) as here, open_emulated(haswell, engine) as there:
        first, second = here.run(feed), there.run(feed)
        again = there.run({"x": feed["x"][:1]})
    assert there.versions["onnxruntime"] == onnxruntime.__version__
    assert there.versions["machine"] == platform.machine()
    np.testing.assert_array_equal(first["y"], second["y"])
    np.testing.assert_array_equal(first["y"][:1], again["y"])


@pytest.mark.usefixtures("native")
def test_a_file_that_is_no_engine_is_told_in_one_line(haswell: EmulatedCpu, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(TargetError, match=r"the engine does not run on emulated:haswell: .*INVALID_PROTOBUF") as caught:
        open_emulated(haswell, tmp_path / "model.onnx")
    assert "compress doctor" in str(caught.value.hint)


@pytest.mark.usefixtures("native")
def test_a_feed_that_does_not_fit_is_told_with_its_reason(haswell: EmulatedCpu, engine: Path) -> None:
    with open_emulated(haswell, engine) as there, pytest.raises(TargetError, match="INVALID_ARGUMENT"):
        there.run({"x": samples(1, 3, 8, 8)})


def test_an_engine_that_never_answers_is_ended(haswell: EmulatedCpu, tmp_path: Path) -> None:
    words = ("/bin/sh", "-c", "exec sleep 60", "interpreter")
    with pytest.raises(TargetError, match=r"emulated:haswell gave no answer within 0\.3 s") as caught:
        EmulatedSession(haswell, Launch(words), tmp_path, 0.3)
    assert "quantized engine" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("script", "reason"), [("echo qemu: no such cpu >&2; exit 1", "qemu: no such cpu"), ("exit 7", "code 7")]
)
def test_an_interpreter_that_does_not_start_is_told(
    haswell: EmulatedCpu, tmp_path: Path, script: str, reason: str
) -> None:
    with pytest.raises(TargetError, match=f"does not run on emulated:haswell: .*{reason}"):
        EmulatedSession(haswell, Launch(("/bin/sh", "-c", script, "interpreter")), tmp_path, 30)


def test_another_interpreter_does_not_inherit_this_ones_folders(
    haswell: EmulatedCpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/here")
    monkeypatch.setenv("LD_PRELOAD", "")
    words = ("/bin/sh", "-c", 'echo "path=$PYTHONPATH home=$PYTHONHOME preload=${LD_PRELOAD-none}" >&2; exit 1', "x")
    with pytest.raises(TargetError, match="path= home=/there preload=none"):
        EmulatedSession(haswell, Launch(words, {"PYTHONHOME": "/there"}), tmp_path, 30)


@pytest.mark.usefixtures("native")
def test_the_report_names_the_cpu_and_the_share_of_samples(
    haswell: EmulatedCpu, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.devices.facts.qemu_version", lambda cpu: "7.2.22")
    machine = describe_emulated(haswell)
    assert (machine.measured_on, machine.isa, machine.cores) == ("emulated:haswell", "x86-avx2", 1)
    assert machine.cpu == "Haswell, emulated by QEMU 7.2.22"
    with open_emulated(haswell, engine) as there:
        notes = describe_bounds(haswell, there, 64, 10_000)
    assert "64 of 10000 evaluation samples" in notes[0]
    assert "Latency is not measured" in notes[1]

"""What the agent answers, asked in this process; tests/devices/ssh asks it over a link."""

import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import fake_jetson
import numpy as np
import pytest
from qdq_graphs import residual_net, samples

from compress.board import engine, serve
from compress.board.frames import Message, pack_arrays, read_message, unpack_arrays, write_message
from compress.board.service import CHUNK, Service
from compress.model import Model
from compress.runtimes import open_graph
from compress.runtimes.kit import write_kit
from compress.targets import load_target


@pytest.fixture
def model() -> Model:
    return residual_net(dtype="uint8", zero_point=0)


@pytest.fixture
def service(folder: Path) -> Service:
    return Service(folder)


def send(service: Service, name: str, content: bytes, *, piece: int = CHUNK, sha256: str | None = None) -> Message:
    """Send a file in pieces; return the last answer."""
    answer = Message({})
    for offset in range(0, max(1, len(content)), piece):
        part = content[offset : offset + piece]
        digest = sha256 or hashlib.sha256(content).hexdigest()
        head = {"op": "put", "name": name, "offset": offset, "total": len(content), "sha256": digest}
        answer = service.answer(Message(head, part))
    return answer


def ask(service: Service, operation: str, payload: bytes = b"", **head: Any) -> Message:
    return service.answer(Message({"op": operation, **head}, payload))


def test_a_file_that_came_in_pieces_is_whole_and_a_piece_may_come_twice(service: Service, folder: Path) -> None:
    content = os.urandom(1000)
    assert send(service, "data.bin", content, piece=300).head == {"received": 1000}
    assert (folder / "data.bin").read_bytes() == content
    head = {"op": "put", "name": "data.bin", "offset": 900, "total": 1000}
    again = service.answer(Message({**head, "sha256": hashlib.sha256(content).hexdigest()}, content[900:]))
    assert again.head == {"received": 1000}
    back = ask(service, "get", name="data.bin", offset=200)
    assert (back.head, back.payload) == ({"total": 1000}, content[200:])


def test_a_file_that_is_not_what_was_sent_is_removed(service: Service, folder: Path) -> None:
    answer = send(service, "data.bin", b"abc", sha256="0" * 64)
    assert answer.head["kind"] == "damaged"
    assert not (folder / "data.bin").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "board.pyz", "agent.sock"])
def test_names_that_leave_the_folder_are_refused(service: Service, name: str) -> None:
    assert send(service, name, b"x").head == {"error": f"`{name}` is not a file name", "kind": "refused"}


def test_what_it_does_not_know_or_cannot_do_is_an_answer_too(service: Service) -> None:
    assert ask(service, "dance").head == {"error": "unknown operation dance", "kind": "failed"}
    assert ask(service, "get", name="no.bin", offset=0).head == {"error": "No such file or directory", "kind": "failed"}
    missing = ask(service, "run", engine="none", arrays=[])
    assert missing.head == {"error": "KeyError: 'none'", "kind": "failed"}


def test_it_says_what_it_is(service: Service) -> None:
    head = ask(service, "facts").head
    assert head["host"]["runtimes"]["numpy"] == np.__version__
    assert set(head) == {"host", "board", "throttled"}


def test_an_engine_computes_and_two_are_timed_in_turn(service: Service, model: Model) -> None:
    for name in ("first", "second"):
        send(service, f"{name}.onnx", model.to_bytes())
        opened = ask(service, "open", engine=name, name=f"{name}.onnx", threads=1)
        assert set(opened.head["versions"]) == {"onnxruntime", "python"}
    feed = {"x": samples(2, 2, 8, 8)}
    described, payload = pack_arrays(feed)
    answer = ask(service, "run", payload, engine="first", arrays=described)
    with open_graph(model.to_bytes(), threads=1) as here:
        there = unpack_arrays(answer.head["arrays"], answer.payload)
        np.testing.assert_array_equal(here.run(feed)["y"], there["y"])
    settings = {"engines": ["first", "second"], "arrays": described, "seconds": 5.0, "lock_clocks": False}
    timed = ask(service, "time", payload, rounds=20, **settings).head
    assert np.array(timed["seconds"]).shape == (20, 2)
    assert timed["throttled"] == []
    locked = ask(service, "time", payload, rounds=1, **{**settings, "lock_clocks": True}).head
    assert "no jetson_clocks here" in locked["error"]


def test_timing_ends_with_its_time(model: Model, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model.to_bytes())
    opened = engine.open_engine(tmp_path / "m.onnx", threads=1)
    timed = engine.time_in_turn(opened, opened, {"x": samples(1, 2, 8, 8)}, seconds=0.0, rounds=10**6)
    assert len(timed["seconds"]) == engine.FEWEST_ROUNDS
    assert timed["steady"] is False


def test_a_graph_that_is_none_is_refused(service: Service) -> None:
    send(service, "m.onnx", b"not a graph")
    answer = ask(service, "open", engine="m", name="m.onnx", threads=1)
    assert answer.head["kind"] == "refused"
    assert "refuses the engine" in answer.head["error"]


def test_a_kit_is_built_and_what_it_is_at_is_known(
    service: Service, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fake_jetson.make_jetson(tmp_path / "jetson", sys.executable).items():
        monkeypatch.setenv(name, value)
    write_kit(residual_net(), load_target("jetson"), folder)
    answer = ask(service, "kit", lock_clocks=True)
    report = json.loads(answer.payload)
    assert report["latency"]["watts"] == pytest.approx(6.626)
    assert report["clocks_locked"] is True
    assert report["layers"][1] == {"name": "Gemm + relu", "seconds": pytest.approx(0.0007)}
    assert service.status == ("latency", 1, 1)


def test_an_emulated_cpu_serves_one_engine(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_bytes(model.to_bytes())
    feed = {"x": samples(1, 2, 8, 8)}
    described, payload = pack_arrays(feed)
    asked = io.BytesIO()
    write_message(asked, Message({"arrays": described}, payload))
    asked.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(asked))
    replies = os.open(tmp_path / "replies", os.O_RDWR | os.O_CREAT)
    kept = os.dup(1)
    os.dup2(replies, 1)
    try:
        assert serve.main([str(tmp_path / "m.onnx")]) == 0
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(replies)
    with (tmp_path / "replies").open("rb") as stored:
        hello, answer = read_message(stored), read_message(stored)
    assert hello is not None
    assert answer is not None
    assert set(hello.head) == {"onnxruntime", "python", "machine"}
    assert unpack_arrays(answer.head["arrays"], answer.payload)["y"].shape[0] == 1

"""The agent over a real sshd: what works, what each failure says, and that nothing is left on the board."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_jetson
import numpy as np
import psutil
import pytest
import sshd
from qdq_graphs import residual_net, samples

from compress.board.frames import Message, write_message
from compress.board.keeper import take_lease
from compress.devices.ssh.agent import Agent, Patience
from compress.devices.ssh.link import VARIABLE, ssh_words
from compress.devices.ssh.session import BoardSession, measure_peak_on_board, open_on_board, time_on_board
from compress.errors import ExitCode, TargetError
from compress.runtimes import open_graph
from compress.runtimes.kit import write_kit
from compress.store import hash_file
from compress.targets import load_target

QUICK = Patience(start=30, call=30, reconnect=1.0, grace=2.0, ping=0.2)


def agents(server: sshd.Server) -> list[psutil.Process]:
    """Return the processes that an agent has on this server's "board"."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(server.base) in words and process.pid != os.getpid():
            found.append(process)
    return found


def open_sent(agent: Agent, engine: Path, name: str) -> BoardSession:
    agent.put(engine, f"{name}.onnx")
    return open_on_board(agent, f"{name}.onnx", name, threads=1)


def assert_nothing_is_left(server: sshd.Server, within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while (server.base.exists() or agents(server)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not server.base.exists(), list(server.base.rglob("*"))
    assert agents(server) == []


def test_an_engine_computes_there_what_it_computes_here(server: sshd.Server, lease: str, engine: Path) -> None:
    feed = {"x": samples(3, 2, 8, 8)}
    with Agent(server.board, lease=lease) as agent, open_graph(engine, threads=1) as here:
        there = open_sent(agent, engine, "compressed")
        assert len(agents(server)) >= 2  # or the check below could not fail
        np.testing.assert_array_equal(here.run(feed)["y"], there.run(feed)["y"])
        assert set(there.versions) == {"onnxruntime", "python"}
    assert_nothing_is_left(server)


def test_two_engines_are_timed_in_turn(server: sshd.Server, lease: str, engine: Path) -> None:
    with Agent(server.board, lease=lease) as agent:
        for name in ("original", "compressed"):
            open_sent(agent, engine, name)
        feed = {"x": samples(1, 2, 8, 8)}
        pair = ("original", "compressed")
        timed = time_on_board(agent, pair, feed, seconds=5, rounds=40, lock_clocks=False)
    assert len(timed.seconds) == 40
    assert all(0 < seconds < 1 for made in timed.seconds for seconds in made)
    assert len(timed.warm_up) >= 5
    assert timed.pressure[1].total >= timed.pressure[0].total


def test_memory_is_measured_in_a_process_of_its_own_there(server: sshd.Server, lease: str, engine: Path) -> None:
    broken = engine.with_name("broken.onnx")
    broken.write_bytes(b"not a graph")
    feed = {"x": samples(1, 2, 8, 8)}
    with Agent(server.board, lease=lease) as agent:
        for path in (engine, broken):
            agent.put(path, path.name)
        peak = measure_peak_on_board(agent, engine.name, feed, threads=1)
        refused = measure_peak_on_board(agent, broken.name, feed, threads=1)
    assert isinstance(peak, int)
    assert 1 << 20 < peak < 1 << 28
    assert isinstance(refused, str)
    assert "refuses the engine" in refused
    assert_nothing_is_left(server)


def test_a_cut_link_is_made_again_and_the_work_goes_on(server: sshd.Server, lease: str, engine: Path) -> None:
    feed = {"x": samples(3, 2, 8, 8)}
    with Agent(server.board, lease=lease) as agent:
        there = open_sent(agent, engine, "compressed")
        first = there.run(feed)["y"]
        assert server.cut() >= 1
        np.testing.assert_array_equal(first, there.run(feed)["y"])
        assert agent.drops >= 1
    assert_nothing_is_left(server)


def test_a_link_that_is_cut_while_the_board_works_does_the_work_once(
    server: sshd.Server, lease: str, tmp_path: Path
) -> None:
    server.stop()
    server.start(fake_jetson.make_jetson(tmp_path / "jetson", sys.executable, seconds=1.0))
    kit = tmp_path / "kit"
    kit.mkdir()
    files = write_kit(residual_net(), load_target("jetson"), kit).files
    with Agent(server.board, lease=lease) as agent:
        for path in files:
            if path.name in ("model.onnx", "kit.json"):
                agent.put(path, path.name)
        cutters = [threading.Timer(seconds, server.cut) for seconds in (0.3, 1.2)]
        for cutter in cutters:
            cutter.start()
        report = json.loads(agent.call("kit", {"lock_clocks": False}).payload)
        for cutter in cutters:
            cutter.join()
        assert agent.drops >= 1
        assert report["latency"]["runs"] == 110
        (calls,) = server.base.glob("*/calls.jsonl")
        made = [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]
    assert sum("--saveEngine=model.engine" in words for words in made) == 1
    # Once for the latency, once for the layers.
    assert sum("--exportTimes=times.json" in words for words in made) == 2
    assert_nothing_is_left(server)


def test_a_link_that_stays_cut_is_told_and_the_board_cleans_up(server: sshd.Server, lease: str, engine: Path) -> None:
    agent = Agent(server.board, lease=lease, patience=QUICK)
    there = open_sent(agent, engine, "compressed")
    server.stop()
    with pytest.raises(
        TargetError, match=r"the link dropped and ssh://.* cannot be reached: .*Connection refused"
    ) as raised:
        there.run({"x": samples(1, 2, 8, 8)})
    assert raised.value.exit_code == ExitCode.TARGET
    agent.close()
    assert_nothing_is_left(server)


def test_an_agent_that_was_ended_there_is_told(server: sshd.Server, lease: str, engine: Path) -> None:
    agent = Agent(server.board, lease=lease, patience=QUICK)
    there = open_sent(agent, engine, "compressed")
    keeper = next(process for process in agents(server) if "start" in process.cmdline() and not process.children())
    keeper.send_signal(signal.SIGKILL)
    with pytest.raises(TargetError, match=r"the agent on ssh://.* (ended: signal 9|is gone)"):
        there.run({"x": samples(1, 2, 8, 8)})
    agent.close()
    assert_nothing_is_left(server)


def test_the_keeper_cleans_up_where_its_supervisor_is_killed(server: sshd.Server, lease: str) -> None:
    agent = Agent(server.board, lease=lease, patience=QUICK)
    agent.call("facts")
    found = [process for process in agents(server) if "start" in process.cmdline()]
    supervisor = next(process for process in found if process.children())
    supervisor.send_signal(signal.SIGKILL)
    assert_nothing_is_left(server)
    agent.close()


def test_a_board_is_one_runs_at_a_time(server: sshd.Server, lease: str) -> None:
    with (
        Agent(server.board, lease=lease),
        pytest.raises(TargetError, match=r"is taken: .* on .* measures there since 20\d\d-") as raised,
    ):
        Agent(server.board, lease=lease)
    assert raised.value.exit_code == ExitCode.TARGET
    with Agent(server.board, lease=lease):
        pass
    assert_nothing_is_left(server)


def test_what_a_killed_run_left_is_removed_by_the_next(server: sshd.Server, lease: str) -> None:
    stale = server.base / "edge-compress-run-killed"
    stale.mkdir(parents=True)
    (stale / "model.onnx").write_bytes(b"left")
    with Agent(server.board, lease=lease):
        assert not stale.exists()
    assert_nothing_is_left(server)


def test_what_else_lies_in_the_chosen_folder_stays(server: sshd.Server, lease: str, tmp_path: Path) -> None:
    trained = server.base / "run-1" / "weights.pt"
    trained.parent.mkdir(parents=True)
    trained.write_bytes(b"weeks of work")
    (server.base / "edge-compress-run-link").symlink_to(trained.parent)
    with Agent(server.board, lease=lease):
        pass
    assert trained.read_bytes() == b"weeks of work"


def test_a_key_that_is_not_known_there_is_told(server: sshd.Server, lease: str) -> None:
    sshd.make_key(server.folder / "other_key")
    (server.folder / "other_key").replace(server.folder / "user_key")
    with pytest.raises(TargetError, match=r"does not take the key: .*Permission denied") as raised:
        Agent(server.board, lease=lease)
    assert raised.value.exit_code == ExitCode.TARGET
    assert "ssh-copy-id" in str(raised.value.hint)
    assert_nothing_is_left(server)


def test_a_changed_host_key_is_told_and_nothing_is_sent(server: sshd.Server, lease: str) -> None:
    server.stop()
    sshd.make_key(server.folder / "host_key")
    server.start()
    with pytest.raises(TargetError, match="is not the one that is known: another machine may be answering") as raised:
        Agent(server.board, lease=lease)
    assert raised.value.exit_code == ExitCode.TARGET
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in str(raised.value.hint)
    assert_nothing_is_left(server)


def test_an_unknown_host_key_is_not_taken_silently(server: sshd.Server, lease: str) -> None:
    (server.folder / "known_hosts").write_text("", encoding="utf-8")
    with pytest.raises(TargetError, match="is not known here") as raised:
        Agent(server.board, lease=lease)
    assert "connect once by hand" in str(raised.value.hint)


def test_a_board_that_is_off_is_told(server: sshd.Server, lease: str) -> None:
    server.stop()
    with pytest.raises(TargetError, match=r"cannot be reached: .*Connection refused"):
        Agent(server.board, lease=lease)


def test_python_3_8_is_told_and_nothing_is_left(server: sshd.Server, lease: str, tmp_path: Path) -> None:
    old = tmp_path / "python3.8"
    program = (
        "import sys; sys.version_info = (3, 8, 10, 'final', 0); code = sys.argv[2]; sys.argv[1:3] = []; exec(code)"
    )
    old.write_text(f'#!/bin/sh\nexec \'{sys.executable}\' -c "{program}" "$@"\n', encoding="utf-8")
    old.chmod(0o755)
    with pytest.raises(TargetError, match=r"has Python 3\.8\.10, and the agent needs 3\.9 or newer") as raised:
        Agent(server.board_with(python=str(old)), lease=lease)
    assert raised.value.exit_code == ExitCode.TARGET
    assert_nothing_is_left(server)


def test_a_board_without_python_is_told(server: sshd.Server, lease: str) -> None:
    with pytest.raises(TargetError, match="has no `/no/python3`"):
        Agent(server.board_with(python="/no/python3"), lease=lease)


def test_a_chatty_shell_is_told(server: sshd.Server, lease: str, tmp_path: Path) -> None:
    chatty = tmp_path / "chatty"
    chatty.write_text(f"#!/bin/sh\necho Welcome to the lab\nexec '{sys.executable}' \"$@\"\n", encoding="utf-8")
    chatty.chmod(0o755)
    with pytest.raises(TargetError, match=r"must print nothing|does not start") as raised:
        Agent(server.board_with(python=str(chatty)), lease=lease, patience=QUICK)
    assert "start files" in str(raised.value.hint)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A folder on a disk of 1 MiB; None where no disk can be mounted (in a container without the right)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_nothing_is_left(
    server: sshd.Server, lease: str, small_disk: Path | None, tmp_path: Path
) -> None:
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(3 << 20))
    base = (small_disk or tmp_path) / "agent"
    board = server.board_with(folder=str(base))
    if small_disk is None:
        server.stop()
        server.start(file_bytes=1 << 20)
    words = "No space left on device" if small_disk else "File too large"
    with (
        pytest.raises(TargetError, match=f"has no room left: {words}") as raised,
        Agent(board, lease=lease) as agent,
    ):
        agent.put(big, "model.onnx")
    assert raised.value.exit_code == ExitCode.TARGET
    assert not base.exists()
    # Not even the agent itself finds room.
    if small_disk is None:
        server.stop()
        server.start(file_bytes=10_000)
    else:
        (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 4096))
    with pytest.raises(TargetError, match=f"has no room left: {words}"):
        Agent(board, lease=lease)
    assert not base.exists()


def test_a_file_that_changed_on_its_way_is_refused(server: sshd.Server, lease: str) -> None:
    with Agent(server.board, lease=lease) as agent:
        settings = {"name": "model.onnx", "offset": 0, "total": 3, "sha256": "0" * 64}
        with pytest.raises(TargetError, match="is not what was sent"):
            agent.call("put", settings, b"abc")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "board.pyz", ".hidden", ""])
def test_no_file_leaves_the_agents_folder(server: sshd.Server, lease: str, name: str) -> None:
    with Agent(server.board, lease=lease) as agent, pytest.raises(TargetError, match="is not a file name"):
        agent.call("put", {"name": name, "offset": 0, "total": 1, "sha256": "0" * 64}, b"x")


def test_files_come_back_as_they_were_sent(server: sshd.Server, lease: str, tmp_path: Path) -> None:
    sent, empty, back = tmp_path / "sent", tmp_path / "empty", tmp_path / "back"
    sent.write_bytes(os.urandom((4 << 20) + 17))
    empty.write_bytes(b"")
    told: list[tuple[int, int]] = []
    with Agent(server.board, lease=lease) as agent:
        agent.put(sent, "data.bin", lambda done, total: told.append((done, total)))
        agent.put(empty, "nothing.bin")
        size, digest = sent.stat().st_size, hash_file(sent)
        agent.get("data.bin", back, size=size, sha256=digest)
        assert back.read_bytes() == sent.read_bytes()
        for wrong_size, wrong in ((size, "0" * 64), (size - 1, digest), (size + 1, digest)):
            with pytest.raises(TargetError, match=r"sends another data\.bin than the one it told of"):
                agent.get("data.bin", back, size=wrong_size, sha256=wrong)
        agent.get("nothing.bin", back, size=0, sha256=hash_file(empty))
        assert back.read_bytes() == b""
    assert told == [(4 << 20, size), (size, size)]


def test_a_graph_that_the_runtime_refuses_is_told(server: sshd.Server, lease: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with (
        Agent(server.board, lease=lease) as agent,
        pytest.raises(TargetError, match=r"ONNX Runtime .* refuses the engine"),
    ):
        open_sent(agent, broken, "compressed")


def test_an_answer_that_takes_too_long_is_given_up(server: sshd.Server, lease: str, engine: Path) -> None:
    with Agent(server.board, lease=lease) as agent:
        for name in ("original", "compressed"):
            open_sent(agent, engine, name)
        with pytest.raises(TargetError, match=r"gave no answer to `time` within 0\.5 s"):
            agent.call(
                "time",
                {"engines": ["original", "compressed"], "arrays": [], "seconds": 1, "rounds": 1, "lock_clocks": False}
                | {"arrays": [{"name": "x", "dtype": "<f4", "shape": [1, 2, 8, 8], "bytes": 512}], "rounds": 10**6}
                | {"seconds": 3},
                bytes(512),
                seconds=0.5,
            )
    assert_nothing_is_left(server)


def test_a_missing_ssh_is_told(server: sshd.Server, lease: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/no/ssh -v")
    with pytest.raises(TargetError, match="there is no `/no/ssh` here"):
        Agent(server.board, lease=lease)


def test_the_variable_names_another_ssh(server: sshd.Server, lease: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"ssh -F {server.folder / 'ssh_config'}")
    board = server.board_with()
    with Agent(type(board)(board.host, board.user, board.port, board.python, board.folder), lease=lease) as agent:
        assert agent.call("facts").head["host"]["python"]


def test_a_lease_outlives_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    held = take_lease(path, json.dumps({"user": "first"}))
    assert held is not None
    assert take_lease(path, "second") is None
    assert "first" in path.read_text(encoding="utf-8")
    os.close(held)
    again = take_lease(path, "third")
    assert again is not None
    os.close(again)


def test_a_lease_that_is_a_link_is_not_followed_and_a_file_of_two_names_not_written(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept", encoding="utf-8")
    (tmp_path / "link").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        take_lease(tmp_path / "link", "run")
    (tmp_path / "name").hardlink_to(precious)
    held = take_lease(tmp_path / "name", "run")
    assert held is not None
    os.close(held)
    assert precious.read_text(encoding="utf-8") == "kept"


def test_a_link_in_the_leases_place_is_told(server: sshd.Server, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TargetError, match=r"the lease .*link cannot be taken: Too many levels of symbolic links"):
        Agent(server.board, lease=str(tmp_path / "link"))
    assert not (tmp_path / "nowhere").exists()


def test_commands_and_tunnels_of_the_users_configuration_are_not_the_agents(server: sshd.Server, lease: str) -> None:
    config = server.folder / "ssh_config"
    own = config.with_name("own_config")
    said = "  RemoteCommand echo hello\n  LocalForward 127.0.0.1:1 127.0.0.1:2\n  ExitOnForwardFailure yes\n"
    own.write_text(config.read_text(encoding="utf-8") + "Host *\n" + said, encoding="utf-8")
    with Agent(replace(server.board, ssh=("-F", str(own))), lease=lease) as agent:
        assert agent.call("facts").head["host"]["python"]


def test_what_the_users_configuration_forwards_stays_here(server: sshd.Server) -> None:
    words = ssh_words(server.board, ["true"])
    assert {"ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no"} <= set(words)


def test_local_commands_and_terminals_of_the_users_configuration_do_not_speak_between(
    server: sshd.Server, lease: str
) -> None:
    config = server.folder / "ssh_config"
    own = config.with_name("own_config")
    said = "  PermitLocalCommand yes\n  LocalCommand echo hello\n  RequestTTY force\n  ForwardX11 yes\n"
    own.write_text(config.read_text(encoding="utf-8") + "Host *\n" + said, encoding="utf-8")
    with Agent(replace(server.board, ssh=("-F", str(own))), lease=lease) as agent:
        assert agent.call("facts").head["host"]["python"]


def test_a_place_that_is_not_to_be_written_is_told(server: sshd.Server, lease: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TargetError, match=r"the agent has no place: Not a directory \(.*/file/agent\)") as raised:
        Agent(server.board_with(folder=str(tmp_path / "file" / "agent")), lease=lease)
    assert "--folder PATH" in str(raised.value.hint)


def test_a_link_that_drops_again_much_later_is_made_again_too(server: sshd.Server, lease: str, tmp_path: Path) -> None:
    server.stop()
    server.start(fake_jetson.make_jetson(tmp_path / "jetson", sys.executable, seconds=2.0))
    kit = tmp_path / "kit"
    kit.mkdir()
    files = write_kit(residual_net(), load_target("jetson"), kit).files
    impatient = replace(QUICK, reconnect=0.8, grace=20.0)
    with Agent(server.board, lease=lease, patience=impatient) as agent:
        for path in files:
            if path.name in ("model.onnx", "kit.json"):
                agent.put(path, path.name)
        cutters = [threading.Timer(seconds, server.cut) for seconds in (0.3, 2.5)]
        for cutter in cutters:
            cutter.start()
        assert json.loads(agent.call("kit", {"lock_clocks": False}).payload)["latency"]["runs"] == 110
        for cutter in cutters:
            cutter.join()
        assert agent.drops >= 2
    assert_nothing_is_left(server)


def test_an_answer_that_nobody_waits_for_does_not_hold_up_the_goodbye(
    server: sshd.Server, lease: str, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(16 << 20))
    agent = Agent(server.board, lease=lease)
    agent.put(large, "large.bin")
    for offset in range(0, 16 << 20, 4 << 20):
        # What Ctrl-C leaves: asked, and not read.
        agent._number += 1
        message = Message({"op": "get", "id": agent._number, "name": "large.bin", "offset": offset})
        assert agent._process is not None
        assert agent._process.stdin is not None
        write_message(agent._process.stdin, message)
        time.sleep(0.3)
    begin = time.monotonic()
    agent.close()
    assert time.monotonic() - begin < 20
    assert_nothing_is_left(server)


def test_a_home_is_the_boards_and_everything_else_is_quoted(server: sshd.Server) -> None:
    words = ssh_words(server.board, ["~/my env/bin/python", "-c", "print('$HOME')", "~other"])
    assert words[-1] == """~/'my env/bin/python' -c 'print('"'"'$HOME'"'"')' '~other'"""
    assert "BatchMode=yes" in words

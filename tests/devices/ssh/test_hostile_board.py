"""A board that is not what it seems: whatever it answers ends in a message, soon, and never in a traceback."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from compress.devices.ssh.address import Board
from compress.devices.ssh.agent import Agent, Patience
from compress.devices.ssh.link import VARIABLE
from compress.devices.ssh.probe import ask_facts
from compress.devices.ssh.session import measure_peak_on_board, open_on_board, time_on_board
from compress.errors import TargetError, printable

QUICK = Patience(start=5, call=3, reconnect=0.5, grace=2.0, ping=0.1)
BOARD = Board("board")

# In ssh's place: what `start` prints, then what each request is answered with.
PROGRAM = """
import json, struct, sys, time
def send(head, payload=b""):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    sys.stdout.buffer.write(struct.pack("<QI", len(head) + len(payload), len(head)) + head + payload)
    sys.stdout.buffer.flush()
def requests():
    while True:
        start = sys.stdin.buffer.read(12)
        if len(start) < 12:
            return
        length, head = struct.unpack("<QI", start)
        yield json.loads(sys.stdin.buffer.read(length)[:head])
def start():
    print(json.dumps({"started": True, "folder": "/there"}))
def relay():
    for asked in requests():
        if asked["op"] == "goodbye":
            return
        answer(asked)
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Hostile":
    """A board that is given its lines."""
    return Hostile(tmp_path, monkeypatch)


class Hostile:
    """Writes the program that stands for ssh and the board behind it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = folder / "hostile.py"
        monkeypatch.setenv(VARIABLE, f"{sys.executable} {self._path}")

    def does(self, lines: str) -> None:
        """Set the definitions of ``start``, ``relay`` or ``answer``."""
        ending = "\n(relay if ' relay ' in sys.argv[-1] else start)()\n"
        self._path.write_text(PROGRAM + lines + ending, encoding="utf-8")

    def answers(self, head: str, payload: str = "b''") -> None:
        """Set one answer to everything but signs of life."""
        self.does(
            "def answer(asked):\n"
            "    if asked['op'] == 'ping': return\n"
            f"    head = {head}\n"
            f"    send(dict(head, id=asked['id']) if isinstance(head, dict) else head, {payload})\n"
        )


@pytest.mark.parametrize(
    ("prints", "message"),
    [
        ("5", "answers what is not understood"),
        ("[]", "answers what is not understood"),
        ('{\\"folder\\": 5}', "answers what is not understood: `folder`"),
        ('{\\"busy\\": 7}', "answers what is not understood: `busy`"),
        ('{\\"busy\\": \\"[1, 2]\\"}', "is taken: another run measures there"),
        ("{}", "the agent does not start"),
        ("[" * 100_000, "the agent does not start"),
        ("", "it said 'nothing'"),
    ],
)
def test_a_start_that_is_none_is_told(hostile: Hostile, prints: str, message: str) -> None:
    hostile.does(f'def start():\n    print("{prints}")\n')
    with pytest.raises(TargetError, match=message):
        Agent(BOARD, patience=QUICK)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_start_that_prints_without_end_is_left(hostile: Hostile, stream: str) -> None:
    hostile.does(f"def start():\n    while True: sys.{stream}.write('x' * 65536)\n")
    with pytest.raises(TargetError, match="prints without end"):
        Agent(BOARD, patience=Patience(start=60))


def test_a_start_that_never_ends_is_left(hostile: Hostile) -> None:
    hostile.does("def start():\n    time.sleep(60)\n")
    with pytest.raises(TargetError, match=r"gave no answer within 0\.5 s"):
        Agent(BOARD, patience=Patience(start=0.5))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("{}", "answers what is not understood: `host`: Field required"),
        ("{'host': 3, 'board': {}, 'throttled': {}}", "answers what is not understood: `host`"),
        ("{'error': ['x'], 'kind': {}}", r"\['x'\]"),
        ("b'[' * 100000", "prints something of its own"),
        ("b'{' + b' ' * (1 << 24) + b'}'", "prints something of its own"),
        ("b'[NaN]'", "prints something of its own"),
        ("b'9' * 10000", "prints something of its own"),
    ],
)
def test_facts_that_are_none_are_told(hostile: Hostile, head: str, message: str) -> None:
    hostile.answers(head)
    with Agent(BOARD, patience=QUICK) as agent, pytest.raises(TargetError, match=message):
        ask_facts(agent)


def test_a_length_that_no_message_has_is_told_at_once(hostile: Hostile) -> None:
    hostile.does("def answer(asked): sys.stdout.buffer.write(b'\\xff' * 12); sys.stdout.buffer.flush()\n")
    with Agent(BOARD, patience=QUICK) as agent, pytest.raises(TargetError, match="prints something of its own"):
        ask_facts(agent)


@pytest.mark.parametrize("status", ["'x'", "[1, 2, 3]", "['t']", "{'a': 1}", "['t', 1.5, None]"])
def test_a_status_that_is_none_is_passed_over(hostile: Hostile, status: str) -> None:
    hostile.does(
        "def answer(asked):\n"
        f"    send({{'status': {status}}})\n"
        "    if asked['op'] != 'ping': send({'id': asked['id']})\n"
    )
    told: list[object] = []
    with Agent(BOARD, patience=QUICK) as agent:
        agent.call("kit", progress=lambda *words: told.append(words))
    assert told == []


ARRAY = "{'name': 'y', 'dtype': '<f4', 'shape': [1, 2], 'bytes': 8}"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ("None", "answers what is not understood: `arrays`"),
        ("[{'name': 'y'}]", r"`arrays\.0\.dtype`: Field required"),
        (f"[dict({ARRAY}, dtype='|O')]", "sends outputs that are none"),
        (f"[dict({ARRAY}, dtype='junk')]", "sends outputs that are none"),
        (f"[dict({ARRAY}, shape=[2**62, 2**62])]", "sends outputs that are none"),
        (f"[dict({ARRAY}, shape=[-1, 2])]", r"`arrays\.0\.shape\.0`"),
        (f"[dict({ARRAY}, shape=[3])]", "sends outputs that are none"),
        (f"[dict({ARRAY}, bytes=7)]", "sends outputs that are none"),
    ],
)
def test_outputs_that_are_none_are_told(hostile: Hostile, arrays: str, message: str) -> None:
    hostile.answers(f"{{'versions': {{'onnxruntime': '1', 'python': '3'}}, 'arrays': {arrays}}}", "b'\\0' * 8")
    with Agent(BOARD, patience=QUICK) as agent:
        there = open_on_board(agent, "model.onnx", "engine", threads=1)
        with pytest.raises(TargetError, match=message):
            there.run({"x": np.zeros((1, 2), np.float32)})


PRESSURE = "{'total': 1.0, 'busy': 1.0, 'own': 1.0, 'steal': 0.0}"


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ("seconds=[]", "seconds"),
        ("seconds=[[1.0]]", r"seconds\.0\.1"),
        ("seconds=[[float('nan'), 1.0]]", r"seconds\.0\.0"),
        ("seconds=[[-1.0, 1.0]]", r"seconds\.0\.0"),
        ("seconds=[[10**400, 1.0]]", r"seconds\.0\.0"),
        ("power={'watts': float('inf'), 'rails': {}, 'temperature_celsius': None}", r"power\.watts"),
        ("throttled='no'", "throttled"),
    ],
)
def test_seconds_that_are_none_are_told(hostile: Hostile, changed: str, key: str) -> None:
    whole = f"dict(seconds=[[1.0, 1.0]], warm_up=[], steady=True, pressure=[{PRESSURE}] * 2, power=None, throttled=[])"
    hostile.answers(f"{{**{whole}, **dict({changed})}}")
    feed = {"x": np.zeros((1, 2), np.float32)}
    with Agent(BOARD, patience=QUICK) as agent, pytest.raises(TargetError, match=f"not understood: `{key}`"):
        time_on_board(agent, ("a", "b"), feed, seconds=1.0, rounds=1, lock_clocks=False)


def test_a_peak_that_is_none_has_a_reason(hostile: Hostile) -> None:
    hostile.answers("{}")
    with Agent(BOARD, patience=QUICK) as agent:
        assert measure_peak_on_board(agent, "m", {}, threads=1) == "the board does not say why"


def test_an_end_that_is_none_is_told(hostile: Hostile) -> None:
    hostile.does('def relay():\n    print(\'[1]\\n{"how": 3, "last": {}}\', file=sys.stderr)\n')
    with pytest.raises(TargetError, match="the link dropped and ssh to ssh://board failed"):
        Agent(BOARD, patience=QUICK).call("facts")


def test_a_board_that_reads_nothing_is_given_up_in_time(hostile: Hostile) -> None:
    hostile.does("def relay():\n    time.sleep(60)\n")
    agent = Agent(BOARD, patience=Patience(start=1, call=1, reconnect=0.5, ping=0.1))
    begin = time.monotonic()
    with pytest.raises(TargetError, match="gave no answer to `put` within 1 s"):
        agent.call("put", {}, bytes(4 << 20))
    agent.close()
    assert time.monotonic() - begin < 30


def test_messages_without_end_do_not_fill_the_disk(hostile: Hostile) -> None:
    hostile.does("def relay():\n    while True: sys.stderr.write('x' * 65536)\n")
    agent = Agent(BOARD, patience=Patience(start=1, call=30, reconnect=0.5, ping=0.1))
    begin = time.monotonic()
    with pytest.raises(TargetError, match="the link dropped"):
        agent.call("facts")
    assert time.monotonic() - begin < 20
    agent.close()


def test_what_a_board_says_commands_no_terminal(hostile: Hostile) -> None:
    hostile.answers(r"{'error': 'no \x1b]0;title\x07 \x1b[2J'}")
    with Agent(BOARD, patience=QUICK) as agent, pytest.raises(TargetError) as raised:
        agent.call("facts")
    assert printable(raised.value.message).endswith(r"no \x1b]0;title\x07 \x1b[2J")

"""What is at the other end: facts about a board, and whether a target's engines run on it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from compress.board.watch import describe_throttling
from compress.devices.ssh.address import Board
from compress.devices.ssh.agent import Agent
from compress.devices.ssh.answers import Facts, read_answer
from compress.errors import TargetError, UsageError
from compress.machine import ARM_PARTS, Isa, isa_of
from compress.report.board_record import Host
from compress.report.record import Machine
from compress.targets import Target, load_targets

RUNTIMES: Final = ("onnxruntime", "tensorrt")
"""Runtimes that are measured over SSH."""


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What a board says of itself: CPU and runtimes (``host``), model and system (``board``)."""

    host: Host
    board: Mapping[str, str | None]
    throttled: dict[str, int]

    @property
    def isa(self) -> Isa | None:
        """The instruction set that decides how INT8 runs there."""
        return isa_of(frozenset(self.host.flags), self.host.machine)

    @property
    def cpu(self) -> str:
        """The CPU's name."""
        implementer, part = self.host.cpu_part
        arm = ARM_PARTS.get(str(part)) if implementer == "0x41" else None
        return self.host.cpu or arm or self.host.machine

    @property
    def runtimes(self) -> Mapping[str, str]:
        """Versions of what is installed there, and where trtexec is."""
        return self.host.runtimes


def ask_facts(agent: Agent) -> BoardFacts:
    """Return what the board at the other end of a running agent says of itself.

    Raises:
        TargetError: The link is gone, or the answer is none that this version understands.
    """
    said = read_answer(agent.board, Facts, agent.call("facts").head)
    return BoardFacts(said.host, said.board, said.throttled)


def probe_board(board: Board) -> BoardFacts:
    """Return what a board says of itself; the agent is there for a moment only.

    Raises:
        TargetError: It cannot be reached, is busy or full, or its Python is too old.
    """
    with Agent(board) as agent:
        return ask_facts(agent)


def check_board(board: Board, facts: BoardFacts, targets: Iterable[Target]) -> None:
    """Check that the board has what engines of these targets need, and is what they are made for.

    Raises:
        UsageError: A target's runtime is not measured over SSH.
        TargetError: Another instruction set, another board, or no runtime there.
    """
    for target in targets:
        if target.runtime not in RUNTIMES:
            raise UsageError(
                f"target {target.name} ({target.runtime}) is not measured over SSH",
                hint=f"--device ssh://… takes targets of {' and '.join(RUNTIMES)}",
            )
        name = facts.board.get("name")
        if target.board is not None and target.board not in (name or ""):
            raise TargetError(
                f"{board.device} is {name or facts.cpu}, and target {target.name} is for a {target.board}",
                hint="`compress targets` lists the others; --target cpu takes any CPU as it is",
            )
        if target.runtime == "onnxruntime":
            _check_onnxruntime(board, facts, target)
        else:
            _check_tensorrt(board, facts, target)


def _check_onnxruntime(board: Board, facts: BoardFacts, target: Target) -> None:
    missing = [name for name in ("numpy", "onnxruntime") if name not in facts.runtimes]
    if missing:
        raise TargetError(
            f"the Python of {board.device} ({board.python}) has no {' and no '.join(missing)}",
            hint="there: python3 -m venv ~/ort && ~/ort/bin/pip install onnxruntime; here: "
            "compress devices add NAME ADDRESS --python '~/ort/bin/python'",
        )
    if target.isa != facts.isa:
        fitting = ["cpu", *(known.name for known in load_targets() if known.isa == facts.isa and known.board is None)]
        raise TargetError(
            f"{board.device} is {facts.isa or facts.cpu}, and target {target.name} is for {target.isa}",
            hint=f"with that device use --target {' or '.join(fitting)}",
        )


def _check_tensorrt(board: Board, facts: BoardFacts, target: Target) -> None:
    if "trtexec" not in facts.runtimes:
        raise TargetError(
            f"{board.device} has no trtexec, which builds and measures for {target.name}",
            hint="there: sudo apt install nvidia-jetpack (Jetson), or TensorRT with its samples",
        )
    there = facts.host.compute_capabilities
    if target.board is None and target.compute_capability not in there:
        raise TargetError(
            f"{board.device} has {'GPUs of ' + ', '.join(there) if there else 'no GPU that nvidia-smi lists'},"
            f" and target {target.name} is for compute capability {target.compute_capability}",
            hint="`compress targets` lists the others",
        )


def list_fitting(facts: BoardFacts) -> list[str]:
    """Return the names of the targets whose engines a board builds or runs."""
    board, found = Board("board"), []
    for target in load_targets():
        try:
            check_board(board, facts, [target])
        except (TargetError, UsageError):
            continue
        found.append(target.name)
    return found


def read_throttled(facts: BoardFacts) -> list[str]:
    """Return what slows a board down right now, in words; empty where nothing does."""
    return describe_throttling(facts.throttled, facts.throttled)


def describe_board_machine(facts: BoardFacts, measured_on: str) -> Machine:
    """Return the report's record of a board."""
    host = facts.host
    name = facts.board.get("name")
    return Machine(
        measured_on=measured_on,
        cpu=f"{facts.cpu} ({name})" if name else facts.cpu,
        isa=facts.isa,
        cores=host.cores,
        memory_bytes=host.memory_bytes,
        system=f"{host.system.strip()}, Python {host.python}",
        governor=host.governor,
        load=host.load,
        steal=None,
        temperature_celsius=host.temperature_celsius,
        virtual="hypervisor" in host.flags if host.flags else None,
    )


def describe_system(board: Mapping[str, str | None]) -> Sequence[str]:
    """Return sentences about a Jetson's system and power mode; none for a board that has neither."""
    release = re.search(r"R(\d+) .*REVISION: ([\d.]+)", board.get("l4t") or "")
    # Reports of earlier versions have all that nvpmodel printed.
    mode = re.sub(r"^.*NV Power Mode: |\s\d+$", "", board.get("power_mode") or "")
    named = {
        "L4T": f"R{release[1]}.{release[2]}" if release else board.get("l4t"),
        "JetPack": board.get("jetpack"),
        "TensorRT": board.get("tensorrt"),
        "power mode": mode,
        "clocks": board.get("clocks"),
    }
    said = [f"{name} {value}" for name, value in named.items() if value]
    return [f"The board: {'; '.join(said)}."] if said else []

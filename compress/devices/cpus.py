"""Emulated CPUs by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from compress.errors import UsageError
from compress.machine import Isa
from compress.targets import Target, load_targets

LOCAL = "local"
_EMULATED = "emulated:"

Architecture = Literal["x86_64", "aarch64"]


@dataclass(frozen=True, slots=True)
class EmulatedCpu:
    """A CPU that user-mode QEMU emulates.

    Attributes:
        name: What follows ``emulated:`` on the command line.
        architecture: Of its machine code.
        model: What QEMU calls it (``-cpu``).
        isa: The instruction set that decides how INT8 runs on it.
    """

    name: str
    architecture: Architecture
    model: str
    isa: Isa

    @property
    def device(self) -> str:
        """How ``--device`` and the report name it: ``emulated:haswell``."""
        return f"{_EMULATED}{self.name}"


CPUS: dict[str, EmulatedCpu] = {
    cpu.name: cpu
    for cpu in (
        EmulatedCpu("haswell", "x86_64", "Haswell", "x86-avx2"),
        EmulatedCpu("epyc-rome", "x86_64", "EPYC-Rome", "x86-avx2"),
        EmulatedCpu("cortex-a53", "aarch64", "cortex-a53", "arm64-neon"),
        EmulatedCpu("cortex-a72", "aarch64", "cortex-a72", "arm64-neon"),
        EmulatedCpu("cortex-a76", "aarch64", "cortex-a76", "arm64-dotprod"),
        EmulatedCpu("neoverse-n1", "aarch64", "neoverse-n1", "arm64-dotprod"),
    )
}
"""QEMU's translator knows neither VNNI nor AMX, so no x86 CPU that has them is here."""


def check_targets(cpu: EmulatedCpu, targets: Iterable[Target]) -> None:
    """Check that engines of these targets run on the CPU with the arithmetic they were made for.

    Raises:
        UsageError: One does not: it is no ONNX Runtime target, or has another instruction set.
    """
    for target in targets:
        if target.runtime == "onnxruntime" and target.isa == cpu.isa:
            continue
        what = target.isa if target.runtime == "onnxruntime" else f"for {target.runtime}"
        fitting = ["cpu", *(known.name for known in load_targets() if known.isa == cpu.isa)]
        raise UsageError(
            f"--device {cpu.device} is a CPU of {cpu.isa}: target {target.name} is {what}",
            hint=f"with that device use --target {' or '.join(fitting)}",
        )

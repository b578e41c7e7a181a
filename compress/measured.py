"""What was measured on a pair of engines, wherever that was."""

from dataclasses import dataclass
from typing import Final

from compress.report.measurements import RawMeasurements
from compress.report.record import Accuracy, Fidelity, Latency, Machine, PeakMemory, Size
from compress.report.speed_record import Energy
from compress.runtimes import Engine
from compress.runtimes.variants import RanNode

MEMORY_METHOD: Final = (
    "what a process of its own held at its peak beyond what it held with ONNX Runtime imported, the engine loaded and "
    "called at the latency's batch and threads"
)
"""How :class:`PeakMemory` is measured, on this machine and on boards."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on a pair of engines; None where it could not be.

    Attributes:
        raw: Every sample's outcome, and every round's seconds.
        machine: Facts about the device where it is not this machine.
        notes: Sentences for the report.
        engine: The engine as the device built it, where that is not the one that was built here.
        layers: The engine's layers as its device timed them; empty where it did not.
    """

    accuracy: Accuracy | None
    fidelity: Fidelity
    latency: Latency | None
    size: Size
    raw: RawMeasurements
    machine: Machine | None = None
    notes: tuple[str, ...] = ()
    energy: Energy | None = None
    engine: Engine | None = None
    layers: tuple[RanNode, ...] = ()
    memory: PeakMemory | None = None

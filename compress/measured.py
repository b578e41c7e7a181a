"""What was measured on a pair of engines, wherever that was."""

from dataclasses import dataclass

from compress.report.measurements import RawMeasurements
from compress.report.record import Accuracy, Fidelity, Latency, Machine, Size
from compress.report.speed_record import Energy
from compress.runtimes import Engine
from compress.runtimes.variants import RanNode


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

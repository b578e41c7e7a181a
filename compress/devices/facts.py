"""What a report says of an emulated CPU."""

from compress.devices.cpus import EmulatedCpu
from compress.devices.qemu import qemu_version
from compress.devices.session import EmulatedSession
from compress.measure.machine import describe_machine
from compress.report.record import Machine


def describe_emulated(cpu: EmulatedCpu) -> Machine:
    """Return the facts about the emulated CPU; load, memory and system are those of the machine that emulates it."""
    here = describe_machine(cpu.device)
    named = f"{cpu.model}, emulated by QEMU {qemu_version(cpu)}"
    update = {"cpu": named, "isa": cpu.isa, "cores": 1, "governor": None, "temperature_celsius": None, "virtual": True}
    return here.model_copy(update=update)


def describe_bounds(cpu: EmulatedCpu, session: EmulatedSession, used: int, there_are: int) -> tuple[str, ...]:
    """Return sentences about what was measured there and on how many samples."""
    versions = session.versions
    share = f"{used} of {there_are} evaluation samples, evenly picked (--device-samples)"
    where = f"{cpu.device}, ONNX Runtime {versions['onnxruntime']}, on {share}"
    return (
        f"Accuracy and outputs are the engine's on {where}; the original ran on this machine's own CPU.",
        f"Latency is not measured: the time that {cpu.device} takes says nothing about the device.",
    )

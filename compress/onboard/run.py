"""Measuring over SSH: ONNX Runtime on streamed samples, TensorRT through the kit that the board builds."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from compress.board.frames import Message
from compress.board.trtexec import ENGINE
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.devices.ssh.address import Board
from compress.devices.ssh.agent import Agent
from compress.devices.ssh.answers import Timed
from compress.devices.ssh.probe import BoardFacts, ask_facts, describe_board_machine
from compress.devices.ssh.session import measure_peak_on_board, open_on_board, time_on_board
from compress.machine import core_count
from compress.measure.accuracy import measure_accuracy
from compress.measure.latency import summarize_timings
from compress.measure.machine import Pressure
from compress.measure.outcomes import OutcomeCollector
from compress.measure.timings import Limits, Timings
from compress.measured import MEMORY_METHOD, Measured
from compress.model import Model
from compress.onboard.results import Judged, measure_from_report
from compress.options import Plan
from compress.report.board_record import NAME, parse_board_report
from compress.report.record import Latency, PeakMemory, Size
from compress.report.speed_record import Energy
from compress.runtimes import Engine, open_graph
from compress.runtimes.batching import fill_batch, fixed_batch, in_batches
from compress.runtimes.engine_files import list_files
from compress.steps import Progress
from compress.store import write_atomically

_ORIGINAL: Final = "original.onnx"
_BATCH: Final = 16
_MOST_ROUNDS: Final = 5000
_KIT_SECONDS: Final = 3 * 3600.0
"""A large model's tactics take an Orin an hour."""
_NOT_FOR_THE_AGENT: Final = ("run.sh", "README.md", "board.pyz")


def measure_on_board(
    board: Board, engine: Engine, original: Model, samples: SampleSet, plan: Plan, progress: Progress
) -> Measured:
    """Return what was measured of an engine and of the original on a board.

    Raises:
        TargetError: The board is not there, is taken or full, or its runtime refuses the engine.
    """
    with Agent(board) as agent:
        if engine.kind == "build-kit":
            return _run_kit(agent, engine, original, samples, plan, progress)
        return _run_graphs(agent, engine, original, samples, plan, progress)


def _run_kit(
    agent: Agent, engine: Engine, original: Model, samples: SampleSet, plan: Plan, progress: Progress
) -> Measured:
    device = agent.board.device
    sent = [file for file in engine.files if file.path.name not in _NOT_FOR_THE_AGENT]
    for number, file in enumerate(sent):
        progress(f"{engine.target}: send to {device}", number, len(sent))
        agent.put(file.path, file.path.name)
    progress(f"{engine.target}: send to {device}", len(sent), len(sent))
    answer = _follow(agent, engine, plan, progress)
    text = answer.payload.decode(errors="replace")
    report = parse_board_report(text, f"{NAME} of {device}")
    agent.get(ENGINE, engine.folder / ENGINE, size=report.engine.bytes, sha256=report.engine.sha256)
    write_atomically(engine.folder / NAME, text.encode())
    judged = Judged(original, samples, plan.metric, plan.options.seed)
    measured = measure_from_report(report, judged, None, device)
    files = [engine.folder / ENGINE, engine.folder / NAME, engine.graph]
    for file in engine.files:
        if file.path not in files:
            file.path.unlink()
    version = report.board.get("tensorrt")
    built = replace(
        engine,
        kind="tensorrt",
        main=engine.folder / ENGINE,
        files=list_files(files),
        versions={**engine.versions, **({"tensorrt": version} if version else {})},
        notes=(f"Built by trtexec on {device} in {report.engine.build_seconds:.0f} s.", *engine.notes[1:]),
    )
    return replace(measured, engine=built)


def _follow(agent: Agent, engine: Engine, plan: Plan, progress: Progress) -> Message:
    where = f"{engine.target} on {agent.board.device}"
    answer = agent.call(
        "kit",
        {"lock_clocks": plan.options.lock_clocks},
        seconds=_KIT_SECONDS,
        progress=lambda task, done, total: progress(f"{where}: {task}", done, total),
    )
    progress(f"{where}: samples", 1, 1)
    return answer


def _run_graphs(
    agent: Agent, engine: Engine, original: Model, samples: SampleSet, plan: Plan, progress: Progress
) -> Measured:
    facts, device = ask_facts(agent), agent.board.device
    progress(f"{engine.target}: send to {device}", 0, 1)
    for file in engine.files:
        agent.put(file.path, file.path.name)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / _ORIGINAL
        path.write_bytes(original.to_bytes())
        agent.put(path, path.name)
    progress(f"{engine.target}: send to {device}", 1, 1)
    judged = take(samples, plan.options.device_samples or len(samples))
    collector = OutcomeCollector(plan.metric)
    compressed = open_on_board(agent, engine.main.name, "accuracy", threads=facts.host.cores)
    here = open_graph(original.to_bytes(), threads=core_count())
    with in_batches(here, original) as first, in_batches(compressed, original) as second:
        accuracy, fidelity = measure_accuracy(
            first,
            second,
            judged,
            plan.metric,
            batch=fixed_batch(original) or _BATCH,
            measured_on="engine",
            seed=plan.options.seed,
            progress=lambda done, total: progress(f"{engine.target}: accuracy on {device}", done, total),
            collector=collector,
        )
    latency, timings, energy = _time_graphs(agent, engine, original, samples, plan, progress)
    memory, unmeasured = _measure_memory(agent, engine, original, samples, plan, progress)
    size = Size(baseline=len(original.to_bytes()), compressed=engine.size())
    notes = _describe(agent, facts, len(judged), len(samples), compressed.versions)
    machine = describe_board_machine(facts, device)
    raw = collector.result(judged, timings)
    return Measured(
        accuracy, fidelity, latency, size, raw, machine, (*notes, *unmeasured), energy=energy, memory=memory
    )


def _time_graphs(
    agent: Agent, engine: Engine, original: Model, samples: SampleSet, plan: Plan, progress: Progress
) -> tuple[Latency, Timings, Energy | None]:
    task = f"{engine.target}: latency on {agent.board.device}"
    progress(task, 0, 1)
    options = plan.options
    open_on_board(agent, _ORIGINAL, "original", threads=options.threads)
    open_on_board(agent, engine.main.name, "compressed", threads=options.threads)
    feed = next(iter(samples.batches(fixed_batch(original) or options.batch))).inputs
    found = time_on_board(
        agent,
        ("original", "compressed"),
        feed,
        seconds=options.latency_seconds,
        rounds=_MOST_ROUNDS,
        lock_clocks=options.lock_clocks,
    )
    timings = _read_timings(found)
    limits = Limits(seconds=options.latency_seconds)
    batch = len(next(iter(feed.values())))
    latency = summarize_timings(timings, threads=options.threads, batch=batch, limits=limits, seed=options.seed)
    if found.throttled:
        why = ", ".join(found.throttled)
        said = f"THROTTLED while it was measured ({why}): cool the board, or its power supply is weak."
        latency = latency.model_copy(update={"notes": (said, *latency.notes)})
    progress(task, 1, 1)
    return latency, timings, _read_energy(found)


def _measure_memory(
    agent: Agent, engine: Engine, original: Model, samples: SampleSet, plan: Plan, progress: Progress
) -> tuple[PeakMemory | None, tuple[str, ...]]:
    """Return the peaks of both engines on the board, or None and why."""
    task, fixed = f"{engine.target}: memory on {agent.board.device}", fixed_batch(original)
    feed = fill_batch(next(iter(samples.batches(fixed or plan.options.batch))).inputs, fixed)
    peaks: list[int] = []
    for number, file in enumerate((_ORIGINAL, engine.main.name)):
        progress(task, number, 2)
        found = measure_peak_on_board(agent, file, feed, threads=plan.options.threads)
        if isinstance(found, str):
            return None, (f"Peak memory was not measured: {found}.",)
        peaks.append(found)
    progress(task, 2, 2)
    return PeakMemory(baseline_peak=peaks[0], compressed_peak=peaks[1], method=MEMORY_METHOD), ()


def _read_timings(found: Timed) -> Timings:
    made = np.array(found.seconds, dtype=np.float64)
    warm = np.array(found.warm_up, dtype=np.float64).reshape(-1, 2)
    before, after = (Pressure(p.total, p.busy, p.own, p.steal) for p in found.pressure)
    return Timings(made[:, 0], made[:, 1], warm, found.steady, (before, after))


def _read_energy(found: Timed) -> Energy | None:
    """Return the board's power while both engines ran in turn, which cannot be told apart; None where unmeasured."""
    power = found.power
    if power is None and not found.throttled:
        return None
    return Energy(
        baseline_joules=None,
        compressed_joules=None,
        baseline_watts=None,
        compressed_watts=power.watts if power else None,
        rails=power.rails if power else {},
        temperature_celsius=power.temperature_celsius if power else None,
        throttled=found.throttled,
        method="mean while both engines ran in turn (tegrastats)" if power else "not measured",
    )


def _describe(agent: Agent, facts: BoardFacts, used: int, there_are: int, versions: dict[str, str]) -> tuple[str, ...]:
    share = "all" if used == there_are else f"{used} of {there_are}, evenly picked,"
    runtime = f"ONNX Runtime {versions['onnxruntime']}, Python {versions['python']}"
    where = f"{agent.board.device} ({facts.cpu}; {runtime})"
    said = [
        f"Accuracy and outputs are the engine's on {where}, on {share} evaluation samples.",
        "The original's outputs were computed on this machine's CPU; latency is that of both on the board.",
    ]
    if agent.drops:
        said.append(f"The link dropped {agent.drops} times and was made again.")
    return tuple(said)

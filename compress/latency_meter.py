"""How fast changed models are beside the one that they were made from, measured on the target's own runtime."""

import hashlib
import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import onnx_ir as ir

from compress.batch_norm import fold_batch_norm
from compress.data.samples import SampleSet
from compress.errors import UsageError
from compress.measure.latency import measure_latency
from compress.measure.timings import Limits
from compress.model import JsonValue, Model
from compress.runtimes import Feed, Runtime, Session, load_runtime
from compress.runtimes.batching import fixed_batch, in_batches
from compress.steps import StepContext
from compress.targets import Target

_CONTENT_MATTERS = 64
"""Elements of a constant above which only its type and shape count: a kernel is as fast whatever its weights are."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How latency is measured: threads of the engines, samples a call, and seconds for each pair at most."""

    threads: int
    batch: int
    seconds: float


class LatencyMeter:
    """Measures changed models beside the unchanged one, interleaved; a context manager that frees engines and files.

    What was measured is kept in the store by the shapes of the graph, never measured twice.
    """

    def __init__(self, baseline: Model, timing: Timing, context: StepContext) -> None:
        """Make the meter; nothing is built yet.

        Raises:
            UsageError: The target cannot be run on this machine.
        """
        self._baseline, self._timing, self._context = fold_batch_norm(baseline), timing, context
        self._runtime: Runtime = load_runtime(context.target.runtime)
        check_runs_here(context.target, self._runtime)
        self._stack = ExitStack()
        self._numbers = count()
        self._folder: Path | None = None
        self._original: Session | None = None
        self._feed = _first_batch(context.calibration, fixed_batch(baseline) or timing.batch)

    def removed(self, model: Model) -> float:
        """Return the share of the baseline's median latency that a changed model saves; below 0 if it is slower.

        Raises:
            TargetError: The runtime refuses the graph.
        """
        model = fold_batch_norm(model)
        key = self._key(model)
        found = self._context.store.get(key)
        if found is not None:
            return float(json.loads(found["removed.json"]))
        removed = self._measure(model)
        self._context.store.put(key, {"removed.json": json.dumps(removed).encode()})
        return removed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._original = None
        self._stack.close()

    def _measure(self, model: Model) -> float:
        if self._original is None:
            self._original = self._stack.enter_context(self._open(self._baseline))
        original = self._original
        with self._open(model) as session:
            latency = measure_latency(
                lambda: original.run(self._feed),
                lambda: session.run(self._feed),
                threads=self._timing.threads,
                batch=self._timing.batch,
                limits=Limits(seconds=self._timing.seconds),
                seed=self._context.seed,
            )
        return 1 - latency.compressed.p50 / latency.baseline.p50

    def _open(self, model: Model) -> Session:
        """Return a session of a model's engine, which lies in a folder of its own."""
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="compress-latency-")))
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        engine = self._runtime.build(model, self._context.target, folder, self._context.build)
        return in_batches(self._runtime.open(engine, threads=self._timing.threads), model)

    def _key(self, model: Model) -> str:
        target, timing = self._context.target, self._timing
        versions: dict[str, JsonValue] = dict(self._runtime.available(target).versions)
        shapes: list[JsonValue] = [list(array.shape) for array in self._feed.values()]
        parts: JsonValue = [
            shape_digest(self._baseline), shape_digest(model), target.model_dump(mode="json"), versions,
            timing.threads, shapes, self._context.build.describe(),
        ]  # fmt: skip
        return f"latency-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]}"


def check_runs_here(target: Target, runtime: Runtime) -> None:
    """Check that engines for a target can be run, and so measured, on this machine.

    Raises:
        UsageError: They cannot.
    """
    available = runtime.available(target)
    if not available.run:
        reason = f": {available.reason}" if available.reason else ""
        raise UsageError(
            f"target {target.name} cannot be run on this machine, so its latency cannot be a goal{reason}",
            hint="state the goal in what can be counted anywhere, 40%macs or points of accuracy; or run the command on "
            "the device",
        )


def shape_digest(model: Model) -> str:
    """Return a digest of everything in a graph but the values of its weights."""
    digest = hashlib.sha256()
    graph = model.graph.graph
    for name, value in sorted(graph.initializers.items()):
        constant = value.const_value
        if constant is not None:
            digest.update(f"{name} {constant.dtype} {constant.shape}\n".encode())
            if constant.size <= _CONTENT_MATTERS and constant.dtype.is_integer():
                digest.update(constant.tobytes())
    for node in graph:
        digest.update(ir.to_proto(node).SerializeToString(deterministic=True))
    digest.update(repr((model.inputs, model.outputs)).encode())
    return digest.hexdigest()


def _first_batch(samples: SampleSet, size: int) -> Feed:
    return next(iter(samples.batches(size))).inputs

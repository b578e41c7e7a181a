"""``compress bench ENGINE …``: latency of ONNX engines, each timed in turn with the first."""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from compress.cli.engine_file import read_interface

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.measure.timings import Limits
    from compress.model import Model
    from compress.report.record import Latency
    from compress.runtimes import Feed

_SEED = 0


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "bench",
        help="measure latency of engines side by side",
        description=(
            "Measure the latency of ONNX engines in ONNX Runtime. Each engine is timed in turn with the first one, the "
            "baseline. A single engine is timed in turn with itself: how far its ratio strays from 1 is the noise here."
        ),
    )
    parser.add_argument("engines", nargs="+", type=Path, metavar="ENGINE", help="an .onnx file")
    parser.add_argument("--threads", type=int, default=1, help="threads of every engine (default 1)")
    parser.add_argument("--batch", type=int, help="samples a call (default: the engine's own, 1 where it is dynamic)")
    parser.add_argument("--data", metavar="SPEC", help="samples to feed; without it, made-up ones of the inputs' shape")
    parser.add_argument("--time-budget", default="10s", metavar="TIME", help="at most, for each pair (default 10s)")
    parser.add_argument("--json", action="store_true", help="print the latencies as JSON, in seconds")


def run(options: argparse.Namespace) -> int:
    """Measure, print a line for each engine, and return 0."""
    from compress.errors import UsageError
    from compress.measure.timings import Limits
    from compress.quantities import parse_duration

    for flag, value in (("--threads", options.threads), ("--batch", options.batch)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}: must be at least 1", hint=f"leave {flag} out for its default")
    try:
        limits = Limits(seconds=parse_duration(options.time_budget))
    except UsageError as error:
        raise UsageError(f"--time-budget: {error.message}", hint=error.hint) from None
    baseline, *others = options.engines
    pairs = [(other, _measure_pair(baseline, other, options, limits)) for other in others or [baseline]]
    if options.json:
        print(json.dumps([_as_json(baseline, other, latency) for other, latency in pairs], indent=2))
    else:
        _print_table(baseline, pairs)
    return 0


def _measure_pair(baseline: Path, other: Path, options: argparse.Namespace, limits: "Limits") -> "Latency":
    from compress.measure.latency import measure_latency
    from compress.runtimes.onnxruntime import open_graph

    models = [read_interface(path) for path in (baseline, other)]
    batch = _batch_size(options.batch, list(zip((baseline, other), models, strict=True)))
    feeds = [_make_feed(model, batch, options.data) for model in models]
    with ExitStack() as stack:
        first, second = (stack.enter_context(open_graph(path, threads=options.threads)) for path in (baseline, other))
        return measure_latency(
            lambda: first.run(feeds[0]),
            lambda: second.run(feeds[1]),
            threads=options.threads,
            batch=batch,
            limits=limits,
            seed=_SEED,
        )


def _batch_size(wanted: int | None, models: "list[tuple[Path, Model]]") -> int:
    """Return the batch size that all engines take.

    Raises:
        UsageError: They do not agree, or not with the flag.
    """
    from compress.errors import UsageError
    from compress.runtimes.batching import fixed_batch

    for path, model in models:
        fixed = fixed_batch(model)
        if fixed is not None and wanted not in (None, fixed):
            raise UsageError(
                f"{path} takes batches of {fixed}, not of {wanted}", hint="leave --batch out, or compare engines alike"
            )
        wanted = wanted if fixed is None else fixed
    return wanted or 1


def _make_feed(model: "Model", batch: int, data: str | None) -> "Feed":
    from compress.data.binding import bind_samples
    from compress.data.recipes import load_samples
    from compress.data.synthetic import synthesize
    from compress.errors import DataError

    if data is None:
        samples = synthesize(model.inputs, count=batch, seed=_SEED)
    else:
        samples = bind_samples(load_samples(data, base=Path.cwd()), model.inputs)
    if len(samples) < batch:
        raise DataError(
            f"{samples.name} has {len(samples)} samples, a batch of {batch} was asked for",
            hint="give more samples or a smaller --batch",
        )
    return next(iter(samples.batches(batch))).inputs


def _as_json(baseline: Path, other: Path, latency: "Latency") -> dict[str, object]:
    return {"baseline_engine": str(baseline), "engine": str(other), **latency.model_dump(mode="json")}


def _print_table(baseline: Path, pairs: "list[tuple[Path, Latency]]") -> None:
    from compress.report.units import format_ratio, format_seconds

    width = max(len(str(path)) for path in (baseline, *(other for other, _ in pairs)))
    print(f"{'engine':<{width}}  {'p50':>9} {'p90':>9} {'p99':>9}  speed-up (95 % interval)")
    rows = [(baseline, pairs[0][1].baseline, "baseline")]
    for other, latency in pairs:
        low, high = latency.interval
        ratio = f"{format_ratio(latency.speedup)} ({format_ratio(low)} to {format_ratio(high)})"
        rows.append((other, latency.compressed, ratio))
    for path, found, ratio in rows:
        p50, p90, p99 = (format_seconds(value) for value in (found.p50, found.p90, found.p99))
        print(f"{path!s:<{width}}  {p50:>9} {p90:>9} {p99:>9}  {ratio}")
    for other, latency in pairs:
        for note in latency.notes:
            print(f"note: {other}: {note}")

"""``compress eval ENGINE --data SPEC``."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from compress.cli.engine_file import read_interface

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.measure.score import Score

_BATCH = 64


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "eval",
        help="measure the accuracy of an ONNX engine on labelled samples",
        description="Measure the accuracy of an ONNX engine or model in ONNX Runtime, with its 95 % interval.",
    )
    parser.add_argument("engine", type=Path, metavar="ENGINE", help="an .onnx file")
    parser.add_argument("--data", required=True, metavar="SPEC", help="a recipe, a path, or python:module:callable")
    parser.add_argument("--metric", default="top1", metavar="NAME", help="top1 (default), top5, f1, mse, python:…")
    parser.add_argument("--simulate", action="store_true", help="compute Q/DQ as written, not in integer kernels")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> int:
    """Measure, print the score with its interval, and return 0."""
    from compress.cli.progress import show_progress
    from compress.data.binding import bind_samples
    from compress.data.metrics import load_metric
    from compress.data.recipes import load_samples
    from compress.machine import core_count
    from compress.measure.score import measure_score
    from compress.runtimes import open_graph
    from compress.runtimes.batching import fixed_batch, in_batches

    metric = load_metric(options.metric, Path.cwd())
    samples = load_samples(options.data, base=Path.cwd())
    model = read_interface(options.engine)
    bound = bind_samples(samples, model.inputs)
    with (
        show_progress(enabled=not options.json) as (_, progress),
        in_batches(open_graph(options.engine, threads=core_count(), simulate=options.simulate), model) as session,
    ):
        score = measure_score(
            session,
            bound,
            metric,
            batch=fixed_batch(model) or _BATCH,
            progress=lambda done, total: progress("evaluate", done, total),
        )
    _print(score, options)
    return 0


def _print(score: "Score", options: argparse.Namespace) -> None:
    from compress.report.units import format_fraction, format_value

    estimate = score.estimate
    if options.json:
        found = {
            "engine": str(options.engine), "data": options.data, "metric": score.metric, "value": estimate.value,
            "interval": [estimate.low, estimate.high], "confidence": estimate.confidence, "samples": score.samples,
            "measured_on": "simulated" if options.simulate else "engine",
        }  # fmt: skip
        print(json.dumps(found, indent=2))
        return
    show = format_fraction if score.unit == "fraction" else format_value
    value, low, high = show(estimate.value), show(estimate.low), show(estimate.high)
    how = "simulated" if options.simulate else "measured"
    print(f"{score.metric} {value} ({low} to {high}, 95 %, {estimate.method}), {score.samples} samples, {how}")

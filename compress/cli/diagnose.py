"""``compress diagnose MODEL --target NAME``: where INT8 loses accuracy, layer by layer."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from compress.cli import Subparsers
    from compress.options import Plan
    from compress.report.layer_record import LayerRecord
    from compress.steps import Progress

SCHEMA = "compress.diagnosis/1"

_SECONDS = 30.0


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "diagnose",
        help="show which layers lose accuracy in INT8, and why",
        description="Quantize a model for a target and show what INT8 does at every layer: its own noise, whether "
        "weight, input or output is to blame, outlier channels, and what the layer costs the model's outputs. "
        "Writes nothing.",
    )
    parser.add_argument("model", type=Path, help="a torch.export archive, state dict, safetensors, TorchScript or ONNX")
    parser.add_argument("--target", required=True, metavar="NAME", help="the target whose INT8 form is looked at")
    parser.add_argument(
        "--data", metavar="SPEC", help="calibration samples: a recipe, a path, or python:module:callable"
    )
    parser.add_argument("--recipe", default="int8", metavar="NAME|FILE", help="its first attempt is run (default int8)")
    parser.add_argument("--samples", type=int, default=16, help="calibration samples that noise is measured on")
    parser.add_argument("--time-budget", metavar="TIME", help="for what layers cost the outputs (default 30s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--input", action="append", default=[], metavar="SPEC", help="image=batch,3,224,224:float32")
    parser.add_argument("--factory", metavar="MODULE:CALLABLE", help="makes the module that a state dict belongs to")
    parser.add_argument("--trust-pickle", action="store_true", help="run the code in a pickled module: only your own")
    parser.add_argument("--json", action="store_true", help="print JSON: every layer")


def run(options: argparse.Namespace) -> int:
    """Print the diagnosis and return 0.

    Raises:
        CompressError: The model, its data or the target cannot be taken.
    """
    from compress.cli.progress import show_progress
    from compress.errors import UsageError
    from compress.options import RunOptions, resolve
    from compress.project import parse_input
    from compress.quantities import parse_duration

    if options.samples < 1:
        raise UsageError(f"--samples {options.samples} is not a positive number", hint="use --samples 16")
    chosen = RunOptions(
        targets=(options.target,),
        data=options.data,
        recipe=options.recipe,
        inputs=tuple(parse_input(text) for text in options.input),
        factory=options.factory,
        trust_pickle=options.trust_pickle,
        seed=options.seed,
    )
    seconds = parse_duration(options.time_budget) if options.time_budget else _SECONDS
    with show_progress(enabled=not options.json) as (console, progress):
        layers = _diagnose(resolve(options.model, chosen), options.samples, seconds, progress)
    if options.json:
        print(json.dumps({"schema": SCHEMA, "layers": [layer.model_dump(mode="json") for layer in layers]}, indent=2))
    else:
        _print(layers, console)
    return 0


def _diagnose(plan: "Plan", samples: int, seconds: float, progress: "Progress") -> "tuple[LayerRecord, ...]":
    """Return the layers of the model after the first attempt of the recipe, the order that of the graph."""
    from compress.data.gather import gather_samples, load_if_named
    from compress.intake import take_in
    from compress.machine import core_count
    from compress.quantize.diagnosis.table import diagnose
    from compress.steps import StepContext, run_step
    from compress.store import Store

    calibration = load_if_named(plan.calibration, plan.project.folder)
    evaluation = load_if_named(plan.evaluation, plan.project.folder)
    original = take_in(plan.model, plan.intake_options(calibration or evaluation)).model
    data = gather_samples(calibration, evaluation, original.inputs, plan.options.seed)
    with tempfile.TemporaryDirectory(prefix="compress-diagnose-") as folder:
        context = StepContext(
            plan.targets[0], data.calibration, core_count(), plan.options.seed, Store(Path(folder)), progress,
            original=original, metric=plan.metric, build=plan.project.build,
        )  # fmt: skip
        model = original
        for step in plan.recipe.attempts[0]:
            model = run_step(step.name, step.function, step.settings, model, context)
        return diagnose(model, context, samples=samples, seconds=seconds)


def _print(layers: "Sequence[LayerRecord]", console: "Console") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from compress.report.layers import HEAD, describe_worst, layer_rows

    if not layers:
        console.print("no layer of this model is INT8 for this target")
        return
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=True, padding=(0, 1))
    for number, name in enumerate(HEAD):
        table.add_column(name, justify="right" if number else "left", no_wrap=not console.is_terminal)
    for row in layer_rows(layers):
        table.add_row(*map(Text, row))
    if not console.is_terminal:
        console.width = 10_000
    console.print(table)
    for sentence in describe_worst(layers):
        console.print(Text(sentence), soft_wrap=True)

"""``compress run MODEL --target NAME``."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from compress.cli.policy_flags import FLAGS, add_policy_flags, given_limits

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.options import RunOptions

_EPILOG = """\
exit codes: 0 pass, 2 usage or bad input, 10 accuracy, 11 latency, 12 size, memory or energy, 13 inconclusive or not
measured, 20 target cannot be built, 1 internal error

example:
  compress run model.pt --target cpu --target jetson --max-drop 0.5
"""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "run",
        help="compress a model for one or more targets",
        description="Compress a model for one or more targets, measure the result against the original, report, judge.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="a torch.export archive, state dict, safetensors, TorchScript or ONNX")
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="a target; may be repeated")
    parser.add_argument(
        "--recipe",
        default="auto",
        metavar="NAME|FILE",
        help="auto (default: INT8; layers back in float, then training, only where the budget is missed), best, int8, "
        "int8-mixed, int8-qat, float, or a file",
    )
    parser.add_argument(
        "--quantizer",
        default="native",
        metavar="NAME",
        help="native (default), onnxruntime (its quantize_static), neural-compressor (Intel's, PT2E), or best: "
        "each is tried and the best kept",
    )
    parser.add_argument(
        "--prune",
        metavar="AMOUNT",
        help="50%%macs: take away half of the MACs (or params, bytes, measured latency) before the other steps",
    )
    parser.add_argument("--time-budget", metavar="TIME", help="10m: how long each training or search may take at most")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: <model>.compressed)")
    parser.add_argument("--resume", action="store_true", help="take up the finished steps of a run that was killed")
    parser.add_argument("--seed", type=int, default=0)
    _add_model_flags(parser)
    _add_data_flags(parser)
    _add_gate_flags(parser)
    _add_measuring_flags(parser)
    printing = parser.add_argument_group("output").add_mutually_exclusive_group()
    printing.add_argument("--json", action="store_true", help="print report.json instead of tables")
    printing.add_argument("--quiet", action="store_true", help="print the verdict only")


def _add_model_flags(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model (compress.toml beside the model says the same in [model])")
    model.add_argument("--input", action="append", default=[], metavar="SPEC", help="image=batch,3,224,224:float32")
    model.add_argument("--factory", metavar="MODULE:CALLABLE", help="makes the module that a state dict belongs to")
    model.add_argument("--trust-pickle", action="store_true", help="run the code in a pickled module: only your own")


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data ([data])")
    data.add_argument("--data", metavar="SPEC", help="calibration samples: a recipe, a path, or python:module:callable")
    data.add_argument("--eval", metavar="SPEC", help="labelled evaluation samples")
    data.add_argument("--metric", metavar="NAME", help="top1 (default), top5, f1, mse, or python:module:callable")


def _add_gate_flags(parser: argparse.ArgumentParser) -> None:
    gate = parser.add_argument_group("gate ([gate])")
    add_policy_flags(gate, FLAGS)


def _add_measuring_flags(parser: argparse.ArgumentParser) -> None:
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument("--threads", type=int, default=1, help="threads of both engines for latency (default 1)")
    measuring.add_argument("--batch", type=int, default=1, help="samples a call for latency (default 1)")
    measuring.add_argument(
        "--device",
        default="local",
        metavar="DEVICE",
        help="ssh://user@host[:port] or a name of `compress devices`: build and measure there; emulated:haswell, "
        "emulated:cortex-a76 …: accuracy of that CPU under QEMU (default: local, this machine)",
    )
    measuring.add_argument(
        "--device-samples",
        type=int,
        metavar="N",
        help="samples that another device computes (default: 64 emulated, 1000 by TensorRT on a board, else all)",
    )
    measuring.add_argument(
        "--lock-clocks", action="store_true", help="hold a Jetson's clocks at their maximum meanwhile, restored after"
    )
    measuring.add_argument(
        "--providers", choices=("all", "cpu"), help="tried for the fastest engine: all installed (default), or cpu only"
    )
    measuring.add_argument(
        "--contest-seconds", type=float, metavar="S", help="race for the fastest engine at most (default 4); 0: no race"
    )
    measuring.add_argument("--latency-seconds", type=float, default=8.0, metavar="S", help="at most, for each target")


def run(options: argparse.Namespace) -> int:
    """Run the line, print the report and return the verdict's exit code."""
    from compress.cli.progress import show_progress
    from compress.options import default_out
    from compress.pipeline import run as run_line
    from compress.report.terminal import print_report

    chosen = _choose(options)
    with show_progress(enabled=not (options.quiet or options.json)) as (console, progress):
        report = run_line(options.model, chosen, progress)
    if options.json:
        print(report.model_dump_json(by_alias=True, indent=2))
    else:
        print_report(report, console, quiet=options.quiet)
        if not options.quiet:
            console.print(f"results in {options.out or default_out(options.model)}", highlight=False, soft_wrap=True)
    return report.verdict.exit_code


def _choose(options: argparse.Namespace) -> "RunOptions":
    from compress.options import RunOptions
    from compress.project import parse_input
    from compress.quantities import parse_duration

    return RunOptions(
        targets=tuple(options.target),
        data=options.data,
        evaluation=options.eval,
        metric=options.metric,
        recipe=options.recipe,
        quantizer=options.quantizer,
        prune=options.prune,
        out=options.out,
        gate=given_limits(options, FLAGS),
        inputs=tuple(parse_input(text) for text in options.input),
        factory=options.factory,
        trust_pickle=options.trust_pickle,
        providers=options.providers,
        contest_seconds=options.contest_seconds,
        threads=options.threads,
        batch=options.batch,
        seed=options.seed,
        resume=options.resume,
        latency_seconds=options.latency_seconds,
        time_budget_seconds=parse_duration(options.time_budget) if options.time_budget else None,
        device=options.device,
        device_samples=options.device_samples,
        lock_clocks=options.lock_clocks,
        command=_command(options),
    )


def _command(options: argparse.Namespace) -> str:
    """Return the command line that repeats this run."""
    words = ["compress", "run", str(options.model)]
    for name, value in vars(options).items():
        flag = "--" + name.replace("_", "-")
        values = value if isinstance(value, list) else [value]
        if name in ("model", "json", "quiet", "resume", "out") or value is None or value is False:
            continue
        words += [flag] if value is True else [word for item in values for word in (flag, str(item))]
    return shlex.join(words)

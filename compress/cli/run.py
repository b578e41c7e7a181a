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

_PASSED_ON = (
    "data",
    "metric",
    "recipe",
    "quantizer",
    "prune",
    "out",
    "factory",
    "trust_pickle",
    "providers",
    "contest_seconds",
    "threads",
    "batch",
    "seed",
    "resume",
    "latency_seconds",
    "device",
    "device_samples",
    "lock_clocks",
    "locked",
    "allow_other_versions",
)
"""Flags that are fields of the options under the same name."""
_WITH_LOCK = (
    "model",
    "locked",
    "allow_other_versions",
    "data",
    "eval",
    "out",
    "resume",
    "trust_pickle",
    "json",
    "quiet",
)
"""What may be said of a run that is repeated."""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "run",
        help="compress a model for one or more targets",
        description="Compress a model for one or more targets, measure the result against the original, report, judge.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", type=Path, nargs="?", help="a torch.export archive, state dict, safetensors, TorchScript or ONNX"
    )
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="a target; may be repeated")
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help="auto (default: INT8; layers back in float, then training, only where the budget is missed), best, int8, "
        "int8-mixed, int8-reconstruct, int8-qat, fp16, int8+fp16, int8-weights, int4-weights, float, or a file",
    )
    parser.add_argument(
        "--quantizer",
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
    _add_locked_flags(parser)
    _add_model_flags(parser)
    _add_data_flags(parser)
    _add_gate_flags(parser)
    _add_measuring_flags(parser)
    printing = parser.add_argument_group("output").add_mutually_exclusive_group()
    printing.add_argument("--json", action="store_true", help="print report.json instead of tables")
    printing.add_argument("--quiet", action="store_true", help="print the verdict only")


def _add_locked_flags(parser: argparse.ArgumentParser) -> None:
    locked = parser.add_argument_group("repeating a run")
    locked.add_argument("--seed", type=int, help="of everything random (default 0)")
    locked.add_argument(
        "--locked",
        type=Path,
        metavar="LOCK",
        help="the recipe.lock.toml of a run: the same graphs byte for byte, or exit code 2; MODEL, --data and --eval "
        "say where things are now",
    )
    locked.add_argument(
        "--allow-other-versions", action="store_true", help="with --locked: tell other versions and results, go on"
    )


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
    measuring.add_argument("--threads", type=int, help="threads of both engines for latency (default 1)")
    measuring.add_argument("--batch", type=int, help="samples a call for latency (default 1)")
    measuring.add_argument(
        "--device",
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
    measuring.add_argument("--latency-seconds", type=float, metavar="S", help="at most, for each target (default 8)")


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
            console.print(
                f"results in {options.out or default_out(Path(report.source.path))}", highlight=False, soft_wrap=True
            )
    return report.verdict.exit_code


def _choose(options: argparse.Namespace) -> "RunOptions":
    """Return what the user said; the rest has its default, or the lock's value."""
    from compress.options import RunOptions
    from compress.project import parse_input
    from compress.quantities import parse_duration

    _check_locked(options)
    said = {name: getattr(options, name) for name in _PASSED_ON if getattr(options, name) is not None}
    return RunOptions(
        **said,
        targets=tuple(options.target),
        evaluation=options.eval,
        gate=given_limits(options, FLAGS),
        inputs=tuple(parse_input(text) for text in options.input),
        time_budget_seconds=parse_duration(options.time_budget) if options.time_budget else None,
        command=_command(options),
    )


def _check_locked(options: argparse.Namespace) -> None:
    """Refuse flags that the lock of a repeated run speaks for.

    Raises:
        UsageError: There is one; or a flag that is of no use without a lock.
    """
    from compress.errors import UsageError

    given = [name for name, value in vars(options).items() if value is not None and value is not False and value != []]
    if options.locked is None:
        if options.allow_other_versions:
            raise UsageError("--allow-other-versions is of no use without --locked", hint="leave it away")
        return
    other = ["--" + name.replace("_", "-") for name in given if name not in _WITH_LOCK]
    if other:
        raise UsageError(
            f"--locked repeats a run, and its lock says what {other[0]} would",
            hint=f"leave {', '.join(other)} away, or leave --locked away for a run of its own",
        )


def _command(options: argparse.Namespace) -> str:
    """Return the command line that repeats this run."""
    words = ["compress", "run", *([] if options.model is None else [str(options.model)])]
    for name, value in vars(options).items():
        flag = "--" + name.replace("_", "-")
        values = value if isinstance(value, list) else [value]
        if name in ("model", "json", "quiet", "resume", "out") or value is None or value is False:
            continue
        words += [flag] if value is True else [word for item in values for word in (flag, str(item))]
    return shlex.join(words)

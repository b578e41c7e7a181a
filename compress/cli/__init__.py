"""The command line: parsing and printing only. One module a command; each is imported when it is used."""

import argparse
import difflib
import importlib
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, cast

from compress import __version__
from compress.errors import CompressError, ExitCode, UsageError, printable, suggest

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("compress.cli.run", "compress a model for one or more targets, measure it, report, and judge"),
    "inspect": ("compress.cli.inspect", "show what a model is, its cost per layer, and what could be done to it"),
    "diagnose": ("compress.cli.diagnose", "show which layers lose accuracy in INT8, and why"),
    "targets": ("compress.cli.targets", "list or show targets, and what this machine can build and run"),
    "eval": ("compress.cli.eval", "measure the accuracy of an engine or an ONNX model on labelled samples"),
    "bench": ("compress.cli.bench", "measure latency of engines side by side"),
    "report": ("compress.cli.report", "write a stored report in another form: Markdown, HTML, JUnit, SARIF, CSV"),
    "diff": ("compress.cli.diff", "compare two reports: what changed, and how sure that is"),
    "gate": ("compress.cli.gate", "judge a stored report under a policy"),
    "verify": ("compress.cli.verify", "check a folder of results: digests, signature, and the engine's accuracy"),
    "devices": ("compress.cli.devices", "keep and check boards that are reached over SSH"),
    "sign": ("compress.cli.sign", "sign a folder of results with an Ed25519 key"),
    "distill": ("compress.cli.distill", "train a smaller model to give the outputs of a larger one"),
    "doctor": ("compress.cli.doctor", "show what works on this machine and the command that mends what does not"),
}
"""Module and one-line description of each command."""


Subparsers: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - argparse has no public name for it
"""What a command module adds its own parser to."""


class _Command(Protocol):
    def add_parser(self, commands: Subparsers) -> None: ...

    def run(self, options: argparse.Namespace) -> int: ...


class _Parser(argparse.ArgumentParser):
    """Turns argparse's exit into an error with a hint."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; prints one message and one hint for a user's mistake."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except CompressError as error:
        print(printable(f"error: {error.message}"), file=sys.stderr)
        if error.hint:
            print(printable(f"hint: {error.hint}"), file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; `--resume` takes up the finished steps", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`compress targets | head`): nobody is left to tell.
        sys.stderr.close()
        return int(ExitCode.PASS)
    except Exception:  # noqa: BLE001 - the last resort: our own bug, with its traceback
        traceback.print_exc()
        print(f"internal error in edge-compress {__version__}: please report it with the lines above", file=sys.stderr)
        return int(ExitCode.INTERNAL)


def _dispatch(arguments: list[str]) -> int:
    parser = _Parser(
        prog="compress",
        description="Take a trained model to a device: INT8 engine, report, verdict.",
        epilog="`compress COMMAND --help` shows a command's flags.",
    )
    parser.add_argument("--version", action="version", version=f"edge-compress {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    name = arguments[0] if arguments else "--help"
    if name in COMMANDS:
        command = cast("_Command", importlib.import_module(COMMANDS[name][0]))
        command.add_parser(commands)
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            raise _unknown_argument(unknown[0], commands.choices[name])
        return command.run(options)
    if not name.startswith("-"):
        raise UsageError(f"unknown command `{name}`", hint=suggest(name, COMMANDS))
    for known, (_, text) in COMMANDS.items():
        commands.add_parser(known, help=text)
    parser.parse_args([name])
    raise UsageError("no command given", hint=suggest("", COMMANDS))


def _unknown_argument(argument: str, parser: argparse.ArgumentParser) -> UsageError:
    """Return the error about an argument that a command does not take, with the nearest flag that it takes."""
    flag = argument.partition("=")[0]
    flags = set(re.findall(r"--[a-z][a-z-]*", parser.format_usage()))
    nearest = difflib.get_close_matches(flag, flags, n=1) if flag.startswith("-") else []
    question = f"did you mean `{nearest[0]}`? " if nearest else ""
    kind = "flag" if flag.startswith("-") else "argument"
    return UsageError(f"unknown {kind} `{flag}`", hint=f"{question}see `{parser.prog} --help`")

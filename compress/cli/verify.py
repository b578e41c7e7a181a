"""``compress verify DIR``: whether a folder of results is what the run left, and its engine as accurate as it says."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.evidence.files import Finding
    from compress.evidence.rerun import Rerun
    from compress.evidence.trust import Claim
    from compress.report.record import Report

_EPILOG = """\
exit codes: 0 all as the run left it, 2 something was changed, is missing, extra or unreadable, or the accuracy is
another one, 13 the files are right and the accuracy could not be measured again (--no-run: not asked for)
"""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "verify",
        help="check a folder of results: digests, signature, and the accuracy on the engine",
        description="Check every file of a folder of results against provenance.json, its signature where a key is "
        "given, and measure the engine's accuracy again. Works offline; nothing in the folder is run but the engine's "
        "graph.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `compress run` wrote")
    parser.add_argument("--key", type=Path, metavar="PEM", help="the public key that the folder is signed with")
    parser.add_argument(
        "--require-signature", action="store_true", help="a signature that was not checked will not do (needs --key)"
    )
    parser.add_argument("--data", metavar="SPEC", help="the evaluation samples, where they are no recipe's name")
    parser.add_argument("--no-run", action="store_true", help="check files only: no engine is loaded")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> int:
    """Check, print what was found, and return the exit code."""
    from compress.errors import ExitCode, UsageError
    from compress.evidence.files import check_files, check_report, list_board_reports
    from compress.evidence.statement import require_folder
    from compress.evidence.trust import read_claim
    from compress.report.json_file import read_report
    from compress.store import REPORT

    require_folder(options.folder)
    if options.no_run and options.data:
        raise UsageError("--data is of no use with --no-run", hint="leave one of them away")
    claim = read_claim(options.folder, options.key, required=options.require_signature)
    digests = claim.digests
    findings = [*claim.findings, *check_files(options.folder, digests)]
    reruns: list[Rerun] = []
    if not any(finding.what == REPORT for finding in findings):
        report = read_report(options.folder / REPORT)
        findings += check_report(report, digests)
        # An engine that is not the run's is not loaded.
        if not findings and not options.no_run:
            found, reruns = _rerun(report, options)
            findings += found
    _print(options, claim, findings, reruns, list_board_reports(options.folder, digests))
    if findings or any(each.outcome == "differs" for each in reruns):
        return ExitCode.USAGE
    return ExitCode.UNDECIDED if any(each.outcome == "not run" for each in reruns) else ExitCode.PASS


def _rerun(report: "Report", options: argparse.Namespace) -> "tuple[list[Finding], list[Rerun]]":
    from compress.cli.engine_file import read_interface
    from compress.cli.progress import show_progress
    from compress.evidence.files import Finding
    from compress.evidence.rerun import Rerun, load_evaluation, rerun_target

    measured = [target for target in report.targets if target.accuracy is not None]
    if not measured:
        return [], []
    samples = load_evaluation(report, options.data, Path.cwd())
    if isinstance(samples, Finding):
        return [samples], []
    if isinstance(samples, str):
        return [], [Rerun(target.target, "not run", samples) for target in measured]
    original = read_interface(options.folder / "model.onnx")
    with show_progress(enabled=not options.json) as (_, progress):
        done = [rerun_target(target, options.folder, original, samples, progress) for target in measured]
    return [], [each for each in done if each is not None]


def _print(
    options: argparse.Namespace,
    claim: "Claim",
    findings: "list[Finding]",
    reruns: "list[Rerun]",
    board_reports: tuple[str, ...],
) -> None:
    if options.json:
        found = {
            "folder": str(options.folder),
            "files": len(claim.digests),
            "signature": {"state": claim.signed, "key": claim.key},
            "findings": [asdict(each) for each in findings],
            "accuracy": [asdict(each) for each in reruns],
            "board_reports": list(board_reports),
        }
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from compress.errors import printable

    for finding in findings:
        print(printable(f"{finding.fault:<8} {finding.what}: {finding.reason}"))
    for each in reruns:
        print(printable(f"{each.outcome:<8} accuracy of {each.target}: {each.reason}"))
    for name in board_reports:
        told = f"`compress report {options.folder} --import {options.folder / name}` takes it in"
        print(f"{'new':<8} {name}: what a board measured after the run; {told}")
    bad = bool(findings) or any(each.outcome == "differs" for each in reruns)
    print("NOT what the run left" if bad else _say_right(claim))


def _say_right(claim: "Claim") -> str:
    files = f"{len(claim.digests)} files are as"
    if claim.signed == "right":
        return f"{files} they were signed with key {claim.key}"
    if claim.signed == "unchecked":
        return f"{files} provenance.json says; its signature was NOT checked: give --key"
    return f"{files} provenance.json says; it is not signed"

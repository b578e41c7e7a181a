"""``compress report DIR --import board-report.json``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.data.samples import SampleSet
    from compress.report.record import Report


def import_board(options: argparse.Namespace) -> int:
    """Put a board's report into a folder of results, show what became of it; return the verdict's exit code."""
    from compress.cli.console import SafeConsole
    from compress.cli.judged import read_demand
    from compress.errors import ConfigError
    from compress.evidence.board_import import find_kit, merge_board
    from compress.evidence.files import check_files, check_report
    from compress.evidence.statement import ENVELOPE, read_statement
    from compress.report.board_record import read_board_report
    from compress.report.json_file import read_report
    from compress.report.terminal import print_report

    folder = options.report if options.report.is_dir() else options.report.parent
    report, board = read_report(options.report), read_board_report(options.board)
    digests = read_statement(folder).digests
    wrong = [*check_files(folder, digests), *check_report(report, digests)]
    if wrong:
        raise ConfigError(
            f"{folder} is not what the run left: {wrong[0].what}: {wrong[0].reason}",
            hint=f"`compress verify {folder}` lists everything",
        )
    signed = (folder / ENVELOPE).exists()
    kit = find_kit(report, board)
    samples = _load_samples(report, options) if board.outputs is not None else None
    merged = merge_board(report, kit, board, folder, samples, read_demand(options.report, options.policy).policy)
    print_report(merged, SafeConsole(), quiet=False)
    print(f"results in {folder}" + ("; the signature was of what was there before: sign again" if signed else ""))
    return merged.verdict.exit_code


def _load_samples(report: "Report", options: argparse.Namespace) -> "SampleSet | None":
    """Return the run's evaluation samples; None where the run had none.

    Raises:
        CompressError: They are not known here, or are others.
    """
    from compress.errors import DataError
    from compress.evidence.files import Finding
    from compress.evidence.rerun import load_evaluation

    if report.data.evaluation is None or report.data.evaluation.synthetic:
        return None
    found = load_evaluation(report, options.data, Path.cwd())
    if isinstance(found, Finding):
        raise DataError(f"{found.what}: {found.reason}", hint="give the run's own samples: --data SPEC")
    if isinstance(found, str):
        raise DataError(found, hint="the board's outputs are scored with their labels")
    return found

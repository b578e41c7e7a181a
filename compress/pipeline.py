"""The straight line: intake, steps, engine, measurement, report, verdict."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.assembly import check_export, describe_run
from compress.attempts import run_target
from compress.data.gather import gather_samples, load_if_named
from compress.evidence.bom import write_bom
from compress.evidence.lock.replay import prepare
from compress.evidence.lock.write import write_lock
from compress.evidence.statement import list_earlier, write_statement
from compress.gate import check_targets, judge_targets
from compress.intake import take_in
from compress.options import RunOptions
from compress.report.html.page import load_raw, render_page
from compress.report.json_file import write_report
from compress.report.markdown import render_markdown
from compress.report.record import Report
from compress.steps import Progress
from compress.store import open_workspace, write_atomically

log = logging.getLogger("compress")


def run(model: str | Path | None, options: RunOptions, progress: Progress) -> Report:
    """Return the report of a model taken to its targets; engines, reports and logs are in the output folder.

    Args:
        model: The file; None for that of the lock which the options name.
        options: What the user said.
        progress: Told how far it is.

    Raises:
        CompressError: Anything that the user can mend; nothing is left behind then.
    """
    plan, guard, inputs = prepare(None if model is None else Path(model), options)
    with open_workspace(plan.out, resume=options.resume) as work, _logging_to(work.staging / "run.log"):
        calibration = load_if_named(plan.calibration, plan.project.folder)
        evaluation = load_if_named(plan.evaluation, plan.project.folder)
        progress("read the model", 0, 1)
        source = take_in(plan.model, plan.intake_options(calibration or evaluation))
        progress("read the model", 1, 1)
        data = gather_samples(calibration, evaluation, source.model.inputs, plan.options.seed)
        guard.check_inputs(source, data)
        checked = check_export(source, data.evaluation)
        write_atomically(work.staging / "model.onnx", source.model.to_bytes())
        records = tuple(run_target(target, source, data, plan, work, progress) for target in plan.targets)
        raw = load_raw(records, work.staging)
        outcomes = check_targets(records, plan.policy, raw)
        records, verdict = judge_targets(records, outcomes)
        report = guard.check_results(describe_run(plan, source, data, checked, records, verdict), work.staging)
        write_lock(plan, inputs, data.evaluation, report, work.staging)
        write_atomically(work.staging / "report.md", render_markdown(report).encode())
        write_atomically(work.staging / "report.html", render_page(report, raw, outcomes).encode())
        write_report(report, work.staging / "report.json")
        write_bom(report, source.model, work.staging)
        write_statement(report, work.staging)
        work.publish(list_earlier(work.out))
    return report


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Write what the line logs to a file while a run is under way."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    level, propagate = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
        log.setLevel(level)
        log.propagate = propagate

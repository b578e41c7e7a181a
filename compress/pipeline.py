"""The straight line: intake, steps, engine, measurement, report, verdict."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.assembly import check_export, describe_run
from compress.attempts import run_target
from compress.data.gather import gather_samples, load_if_named
from compress.evidence.statement import write_statement
from compress.gate import worst
from compress.intake import take_in
from compress.options import RunOptions, resolve
from compress.report.html.page import load_raw, render_page
from compress.report.json_file import write_report
from compress.report.markdown import render_markdown
from compress.report.record import Report
from compress.steps import Progress
from compress.store import open_workspace, write_atomically

log = logging.getLogger("compress")


def run(model: str | Path, options: RunOptions, progress: Progress) -> Report:
    """Return the report of a model taken to its targets; engines, reports and logs are in the output folder.

    Raises:
        CompressError: Anything that the user can mend; nothing is left behind then.
    """
    plan = resolve(Path(model), options)
    with open_workspace(plan.out, resume=options.resume) as work, _logging_to(work.staging / "run.log"):
        calibration = load_if_named(plan.calibration, plan.project.folder)
        evaluation = load_if_named(plan.evaluation, plan.project.folder)
        progress("read the model", 0, 1)
        source = take_in(plan.model, plan.intake_options(calibration or evaluation))
        progress("read the model", 1, 1)
        data = gather_samples(calibration, evaluation, source.model.inputs, options.seed)
        checked = check_export(source, data.evaluation)
        write_atomically(work.staging / "model.onnx", source.model.to_bytes())
        records = tuple(run_target(target, source, data, plan, work, progress) for target in plan.targets)
        verdict = worst([record.verdict for record in records], [record.target for record in records])
        report = describe_run(plan, source, data, checked, records, verdict)
        write_atomically(work.staging / "recipe.lock.toml", plan.lock(report).encode())
        write_atomically(work.staging / "report.md", render_markdown(report).encode())
        write_atomically(work.staging / "report.html", render_page(report, load_raw(report, work.staging)).encode())
        write_report(report, work.staging / "report.json")
        write_statement(report, work.staging)
        work.publish()
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

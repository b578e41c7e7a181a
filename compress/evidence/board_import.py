"""A board's report put into the report of the run that made its kit: what was simulated becomes measured."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from compress.assembly import with_verdict
from compress.board.kit import ORIGINAL_GRAPH
from compress.data.binding import bind_samples
from compress.data.callables import PREFIX as PYTHON_PREFIX
from compress.data.metrics import load_metric
from compress.data.samples import SampleSet
from compress.data.synthetic import synthesize
from compress.errors import ConfigError, UsageError
from compress.evidence.bom import write_bom
from compress.evidence.statement import write_statement
from compress.gate import Policy, check_targets, judge_targets
from compress.model import Model
from compress.onboard.results import Judged, measure_from_report
from compress.report.board_record import NAME, BoardReport
from compress.report.html.page import load_raw, render_page
from compress.report.json_file import write_report
from compress.report.markdown import render_markdown
from compress.report.measurements import FOLDER, write_measurements
from compress.report.record import EngineFile, EngineRecord, Measurements, Report, TargetRecord
from compress.runtimes.engine_files import GRAPH
from compress.store import REPORT, hash_file, write_atomically

_METRIC: Final = "top1"


@dataclass(frozen=True, slots=True)
class Kit:
    """The target whose kit a board's report is of, and the kit's folder below that of the results."""

    target: TargetRecord
    folder: PurePosixPath


def find_kit(report: Report, board: BoardReport) -> Kit:
    """Return the target whose kit the board ran.

    Raises:
        ConfigError: None has that graph: the kit is of another run.
    """
    for target in report.targets:
        if target.engine is None or target.engine.kind != "build-kit":
            continue
        for file in target.engine.files:
            if PurePosixPath(file.path).name == GRAPH and file.sha256 == board.kit.model_sha256:
                return Kit(target, PurePosixPath(file.path).parent)
    kits = [each.target for each in report.targets if each.engine is not None and each.engine.kind == "build-kit"]
    raise ConfigError(
        f"{NAME} is of another run: no kit of this report has the graph {board.kit.model_sha256[:12]}…",
        hint=f"kits here: {', '.join(kits) or 'none'}; give the folder that the kit was copied from",
    )


def merge_board(
    report: Report, kit: Kit, board: BoardReport, folder: Path, samples: SampleSet | None, policy: Policy
) -> Report:
    """Write what a board measured into a folder of results, and return its report; every file that follows is renewed.

    Args:
        report: Of the folder.
        kit: The target that the board ran.
        board: What it measured.
        folder: Of the results; its files have been checked.
        samples: The evaluation samples of the report; None where they are not known: accuracy stays as it was.
        policy: What the results are judged by.

    Raises:
        CompressError: The board's outputs are not of these samples, or a file cannot be read.
    """
    original = Model.from_bytes((folder / kit.folder / ORIGINAL_GRAPH).read_bytes())
    record = _merge(kit, board, folder, original, samples, report.seed)
    known = with_verdict(record, kit.target.verdict, policy)
    merged = known.model_copy(update={"attempts": kit.target.attempts, "layers": kit.target.layers})
    targets = tuple(merged if each is kit.target else each for each in report.targets)
    raw = load_raw(targets, folder)
    outcomes = check_targets(targets, policy, raw)
    targets, verdict = judge_targets(targets, outcomes)
    renewed = report.model_copy(update={"targets": targets, "verdict": verdict})
    write_atomically(folder / "report.md", render_markdown(renewed).encode())
    write_atomically(folder / "report.html", render_page(renewed, raw, outcomes).encode())
    write_report(renewed, folder / REPORT)
    write_bom(renewed, original, folder)
    write_statement(renewed, folder)
    return renewed


def _merge(
    kit: Kit, board: BoardReport, folder: Path, original: Model, samples: SampleSet | None, seed: int
) -> Measurements:
    target, name = kit.target, board.board.get("name") or kit.target.target
    said = target.accuracy.metric if target.accuracy is not None else _METRIC
    if said.startswith(PYTHON_PREFIX):
        raise UsageError(
            f"the metric {said} is code, which a report may not name",
            hint="run `compress run --device ssh://…` instead",
        )
    usable = board if samples is not None else board.model_copy(update={"outputs": None})
    bound = bind_samples(samples or synthesize(original.inputs, count=1, seed=seed), original.inputs)
    judged = Judged(original, bound, load_metric(said, folder), seed)
    measured = measure_from_report(usable, judged, target.fidelity, f"board:{name}")
    stored = target.measurements
    if not measured.raw.empty:
        stored = write_measurements(
            measured.raw, folder / FOLDER / f"{target.target}.npz", f"{FOLDER}/{target.target}.npz"
        )
    known = {field: getattr(target, field) for field in Measurements.model_fields}
    known |= {
        "device": measured.machine,
        "engine": _describe_engine(kit, board, folder, measured.notes),
        "accuracy": measured.accuracy or target.accuracy,
        "fidelity": measured.fidelity,
        "latency": measured.latency,
        "size": measured.size,
        "energy": measured.energy,
        "measurements": stored,
    }
    return Measurements(**known)


def _describe_engine(kit: Kit, board: BoardReport, folder: Path, notes: tuple[str, ...]) -> EngineRecord:
    """Return the record of the kit with the board's report in it; the engine itself stays on the board."""
    engine = kit.target.engine
    assert engine is not None  # noqa: S101 - find_kit saw it
    path = kit.folder / NAME
    content = board.model_dump_json(by_alias=True, indent=2) + "\n"
    write_atomically(folder / path, content.encode())
    file = EngineFile(path=str(path), sha256=hash_file(folder / path), bytes=len(content.encode()))
    built = (
        f"Built on the board by {board.engine.built_with} in {board.engine.build_seconds:.0f} s:"
        f" {board.engine.path}, SHA-256 {board.engine.sha256}; it stays there."
    )
    version = board.board.get("tensorrt")
    return engine.model_copy(
        update={
            "files": (*(each for each in engine.files if each.path != file.path), file),
            "versions": {**engine.versions, **({"tensorrt": version} if version else {})},
            "notes": (built, *(note for note in engine.notes if not note.startswith("Built on the board")), *notes),
        }
    )

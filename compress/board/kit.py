"""Build and measure the engine of a kit on the board; write ``board-report.json``."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import contest, python_module, trtexec
from .clocks import LockedClocks
from .common import FAILED, Failed, digest
from .facts import describe_board, describe_host
from .outputs import compute_outputs
from .profile import profile_layers

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str, int, int], None]

SCHEMA = "compress.board-report/1"
REPORT = "board-report.json"
ORIGINAL_GRAPH = "original.onnx"
ORIGINAL_ENGINE = "original.engine"


def main(words: list[str]) -> int:
    """Return 0 once the report is written, 20 with the reason on stderr where there is no engine."""
    folder = Path.cwd()
    unknown = [word for word in words if word != "--lock-clocks"]
    try:
        if unknown:
            raise Failed(f"unknown flag {unknown[0]}: run.sh takes --lock-clocks only")
        report = make_report(folder, lock_clocks="--lock-clocks" in words, progress=_tell)
    except (Failed, OSError) as failure:
        sys.stderr.write(f"run.sh: {failure}\n")
        return FAILED
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    (folder / REPORT).write_text(text, encoding="utf-8")
    shown = {key: value for key, value in report.items() if key not in ("outputs", "seconds")}
    sys.stdout.write(json.dumps(shown, indent=2, sort_keys=True) + "\n")
    return 0


def _tell(task: str, done: int, total: int) -> None:
    """Print where it is, each task ten times at most."""
    if done * 10 // max(total, 1) > (done - 1) * 10 // max(total, 1) or done == 0:
        sys.stderr.write(f"{task}: {done} of {total}\n")
        sys.stderr.flush()


def make_report(folder: Path, *, lock_clocks: bool, progress: Progress) -> dict[str, object]:
    """Return the report of building and measuring in a kit's folder.

    Raises:
        Failed: The kit is damaged, there is no TensorRT, it refuses the graph, or the clocks cannot be locked.
    """
    kit = json.loads((folder / "kit.json").read_text(encoding="utf-8"))
    _check_graphs(kit, folder)
    program = trtexec.find_trtexec()
    engines = 1 if kit.get("original_sha256") is None else 2
    progress("build", 0, engines)
    built, version = _build(program, kit, folder, trtexec.GRAPH, trtexec.ENGINE)
    progress("build", 1, engines)
    original, notes = _build_original(program, kit, folder, progress)
    measured: dict[str, Any] = {"latency": None, "notes": ["trtexec was not found: latency is not measured"]}
    outputs = layers = None
    if program is not None:
        with LockedClocks(folder) if lock_clocks else contextlib.nullcontext():
            names = [trtexec.ENGINE] if original is None else [ORIGINAL_ENGINE, trtexec.ENGINE]
            measured = contest.measure(program, kit, folder, names, progress)
        layers = profile_layers(program, kit, folder)
        outputs, said = compute_outputs(program, kit, folder, progress)
        notes += [*said, *trtexec.describe_sparsity((folder / "build.log").read_text(errors="replace"))]
    return {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 Python 3.8
        "kit": {name: kit[name] for name in ("target", "tool_version", "model_sha256")},
        "board": describe_board(version),
        "host": describe_host(),
        "clocks_locked": lock_clocks,
        "engine": built,
        "original": original,
        "outputs": outputs,
        "layers": layers,
        **measured,
        "notes": [*measured["notes"], *notes],
    }


def _check_graphs(kit: dict[str, Any], folder: Path) -> None:
    for name, wanted in ((trtexec.GRAPH, kit["model_sha256"]), (ORIGINAL_GRAPH, kit.get("original_sha256"))):
        if wanted is not None and (not (folder / name).is_file() or digest(folder / name) != wanted):
            raise Failed(f"{name} is not the file of this kit (its SHA-256 differs): copy the folder again")


def _build(
    program: str | None, kit: dict[str, Any], folder: Path, graph: str, engine: str
) -> tuple[dict[str, object], str | None]:
    start = time.monotonic()
    if program is None:
        version: str | None = python_module.build(kit, folder)
    else:
        version = trtexec.build(program, kit, folder, graph=graph, engine=engine)
    path = folder / engine
    described: dict[str, object] = {
        "path": engine,
        "sha256": digest(path),
        "bytes": path.stat().st_size,
        "build_seconds": round(time.monotonic() - start, 3),
        "built_with": "trtexec" if program else "python",
    }
    return described, version


def _build_original(
    program: str | None, kit: dict[str, Any], folder: Path, progress: Progress
) -> tuple[dict[str, object] | None, list[str]]:
    """Return what was built of the original, or None; and why not."""
    if kit.get("original_sha256") is None or program is None:
        return None, []
    try:
        built = _build(program, kit, folder, ORIGINAL_GRAPH, ORIGINAL_ENGINE)[0]
        progress("build", 2, 2)
        return built, []
    except Failed as failure:
        return None, [f"the original is not measured: {failure}"]

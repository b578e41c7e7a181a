"""The engine's outputs for the samples of a kit: accuracy is computed from them where the labels are."""

from __future__ import annotations

import base64
import json
import re
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import trtexec
from .common import run_logged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH_OUTPUT = "outputs.json"


def compute_outputs(
    program: str, kit: dict[str, Any], folder: Path, progress: Callable[[str, int, int], None]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return ``{name: {shape, float32}}`` of all samples of a kit, and notes; None where it has none or trtexec fails.

    ``float32`` is base64 of little-endian floats. trtexec prints six significant digits.
    """
    samples = kit.get("samples")
    if samples is None:
        return None, []
    found: dict[str, array[float]] = {}
    shapes: dict[str, list[int]] = {}
    count, batch = samples["count"], samples["batch"]
    for start in range(0, count, batch):
        progress("samples", start, count)
        wanted = min(batch, count - start)
        # An engine of fixed shape takes a whole batch only: the rest is filled up and cut off.
        size = batch if samples["fixed"] else wanted
        files = _write_batch(kit, folder, start, wanted, size)
        shapes_now = {e["name"]: [size, *shape] for e, shape in zip(kit["inputs"], samples["shapes"])}  # noqa: B905
        arguments = trtexec.compute_arguments(kit, shapes_now, files, BATCH_OUTPUT)
        if run_logged([program, *arguments], folder / "outputs.log") is None:
            return None, [f"trtexec fails on the samples from {start} on (outputs.log): accuracy is not measured"]
        try:
            for name, shape, values in _read_outputs(folder / BATCH_OUTPUT):
                each = len(values) // shape[0]
                found.setdefault(name, array("f")).extend(values[: wanted * each])
                shapes[name] = [count, *shape[1:]]
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            return None, [f"trtexec's {BATCH_OUTPUT} is not understood: accuracy is not measured"]
    progress("samples", count, count)
    return {name: {"shape": shapes[name], "float32": _encode(values)} for name, values in found.items()}, []


def _read_outputs(path: Path) -> Iterator[tuple[str, list[int], list[float]]]:
    """Yield name, shape and values of each output; what is no number is written as C++ prints it."""
    text = path.read_text(encoding="utf-8")
    try:
        entries = json.loads(text)
    except ValueError:
        text = re.sub(r"(?<=[\[,] )-?nan(?=\s*[,\]])", "NaN", text)
        entries = json.loads(re.sub(r"(?<=[\[,] )(-?)inf(?=\s*[,\]])", r"\1Infinity", text))
    for entry in entries:
        yield entry["name"], [int(each) for each in entry["dimensions"].split("x")], entry["values"]


def _write_batch(kit: dict[str, Any], folder: Path, start: int, wanted: int, size: int) -> dict[str, str]:
    """Write one batch of each input into a file of its own; return the files by input."""
    files = {}
    for number, entry in enumerate(kit["inputs"]):
        each = kit["samples"]["bytes"][number]
        with (folder / kit["samples"]["files"][number]).open("rb") as stored:
            stored.seek(start * each)
            content = stored.read(wanted * each)
        name = f"batch-{number}.bin"
        (folder / name).write_bytes(content + bytes((size - wanted) * each))
        files[entry["name"]] = name
    return files


def _encode(values: array[float]) -> str:
    if sys.byteorder == "big":
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode("ascii")

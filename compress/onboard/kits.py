"""What a build kit carries besides the graph: the original to measure beside it, and samples to compute."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from compress.board.kit import ORIGINAL_GRAPH
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.model import JsonValue, Model
from compress.runtimes import Engine
from compress.runtimes.batching import fixed_batch
from compress.runtimes.engine_files import list_files
from compress.runtimes.shape_profile import MAX_BATCH
from compress.store import hash_file, write_atomically

MOST_SAMPLES: Final = 1000
"""Samples in a kit unless --device-samples says otherwise; trtexec takes a second or more for each batch."""

MOST_BYTES: Final = 64 << 20
"""Bytes of samples in a kit."""

_KIT: Final = "kit.json"


def fill_kit(engine: Engine, original: Model, samples: SampleSet, wanted: int | None) -> Engine:
    """Return the kit with the original and the samples in it; any other engine as it is.

    Args:
        engine: What was built.
        original: The model that came in.
        samples: The evaluation set.
        wanted: How many of its samples; None for what suits a kit.
    """
    if engine.kind != "build-kit":
        return engine
    graph = engine.folder / ORIGINAL_GRAPH
    write_atomically(graph, original.to_bytes())
    path = engine.folder / _KIT
    facts = json.loads(path.read_text(encoding="utf-8"))
    batch = min(MAX_BATCH, facts["max_batch"])
    described, files = _write_samples(engine.folder, original, samples, wanted, batch)
    facts |= {"original_sha256": hash_file(graph), "samples": described}
    write_atomically(path, (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode())
    kept = [file.path for file in engine.files]
    return replace(engine, files=list_files([*kept, graph, *files]))


def _write_samples(
    folder: Path, original: Model, samples: SampleSet, wanted: int | None, batch: int
) -> tuple[dict[str, JsonValue], list[Path]]:
    """Write the raw inputs, one file for each; return what kit.json says of them, and the files."""
    first = next(iter(samples.batches(1))).inputs
    each = {spec.name: np.asarray(first[spec.name][:1]) for spec in original.inputs}
    fits = max(1, MOST_BYTES // max(1, sum(array.nbytes for array in each.values())))
    picked = take(samples, min(wanted or MOST_SAMPLES, fits))
    files = [folder / f"samples-{number}.bin" for number in range(len(each))]
    streams = [path.open("wb") for path in files]
    try:
        for part in picked.batches(batch):
            for name, stream in zip(each, streams, strict=True):
                stream.write(np.ascontiguousarray(part.inputs[name]).tobytes())
    finally:
        for stream in streams:
            stream.close()
    fixed = fixed_batch(original)
    described: dict[str, JsonValue] = {
        "count": len(picked),
        "batch": fixed or batch,
        "fixed": fixed is not None,
        "files": [path.name for path in files],
        "bytes": [array.nbytes for array in each.values()],
        "shapes": [list(array.shape[1:]) for array in each.values()],
    }
    return described, files

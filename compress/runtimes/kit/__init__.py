"""The build kit: a folder that builds, measures and reports on the board with one command."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import compress
from compress.board.trtexec import build_arguments, measure_arguments
from compress.errors import TargetError
from compress.model import JsonValue, Model
from compress.runtimes.build_settings import DEFAULT, BuildSettings
from compress.runtimes.dla import plan_dla
from compress.runtimes.engine_files import write_graph
from compress.runtimes.kit.archive import NAME, pack_board
from compress.runtimes.shape_profile import MAX_BATCH, ShapeRange, profile_shapes
from compress.runtimes.sparse_weights import find_sparse
from compress.runtimes.timing_cache import FILE
from compress.store import hash_file, write_atomically
from compress.targets import Target

_HERE = Path(__file__).parent
_WORKSPACE_SHARE = 4


@dataclass(frozen=True, slots=True)
class Kit:
    """The files of a kit: the script to run, the graph, and everything."""

    script: Path
    graph: Path
    files: tuple[Path, ...]


def write_kit(model: Model, target: Target, folder: Path, settings: BuildSettings = DEFAULT) -> Kit:
    """Write the kit into the (existing) folder and return its files; equal graphs give equal files.

    Raises:
        TargetError: An axis other than the batch is dynamic and has no range.
    """
    shapes = _profile(model, target, settings)
    graph = write_graph(model, folder)
    facts: dict[str, JsonValue] = {
        "target": target.name,
        "compute_capability": ", ".join(target.compute_capabilities),
        "tool_version": compress.__version__,
        "model_sha256": hash_file(graph),
        "max_batch": max((shape.max[0] for shape in shapes.values()), default=MAX_BATCH),
        "workspace_mib": target.memory.bytes // _WORKSPACE_SHARE // 2**20 if target.memory else None,
        "sparse": bool(find_sparse(model, target)),
        "dla": plan_dla(model, settings),
        "timing_cache": None if settings.timing_cache is None else hash_file(settings.timing_cache),
        "inputs": _describe_inputs(model, shapes),
    }
    readme = Template((_HERE / "README.template.md").read_text(encoding="utf-8")).substitute(
        target=target.name,
        sha256=facts["model_sha256"],
        requirement=_requirement(target),
        build=shlex.join(build_arguments(facts)),
        measure=shlex.join(measure_arguments(facts)),
    )
    contents = {
        "kit.json": (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode(),
        NAME: pack_board(),
        "run.sh": (_HERE / "run.sh").read_bytes(),
        "README.md": readme.encode(),
    }
    if settings.timing_cache is not None:
        contents[FILE] = settings.timing_cache.read_bytes()
    for name, content in contents.items():
        write_atomically(folder / name, content)
    script = folder / "run.sh"
    script.chmod(0o755)
    return Kit(script, graph, (graph, *(folder / name for name in sorted(contents))))


def _profile(model: Model, target: Target, settings: BuildSettings) -> dict[str, ShapeRange]:
    try:
        return profile_shapes(model.inputs, settings.ranges, fixed=settings.dla)
    except TargetError as error:
        raise TargetError(f"target {target.name}: {error.message}", hint=error.hint) from None


def _describe_inputs(model: Model, shapes: Mapping[str, ShapeRange]) -> list[JsonValue]:
    """Return name, dtype and shape of each input, and the range of its shapes where they are dynamic.

    In the shape, which is the one that latency is measured with, a dynamic batch is None.
    """
    described: list[JsonValue] = []
    for spec in model.inputs:
        entry: dict[str, JsonValue] = {"name": spec.name, "dtype": spec.dtype}
        if spec.name in shapes:
            found = shapes[spec.name]
            entry["shape"] = [
                None if spec.has_dynamic_batch and axis == 0 else size for axis, size in enumerate(found.opt)
            ]
            entry["ranges"] = {"min": [*found.min], "opt": [*found.opt], "max": [*found.max]}
        else:
            entry["shape"] = [size for size in spec.shape if isinstance(size, int)]
        described.append(entry)
    return described


def _requirement(target: Target) -> str:
    if target.name == "jetson-thor":
        return "JetPack 7, as flashed."
    if target.board is not None:
        return "JetPack 6 (TensorRT 10.3) or later, as flashed: `sudo apt install nvidia-jetpack` brings all of it."
    return "an NVIDIA driver, TensorRT 10.3 or later with `trtexec`, and Python 3.8 or later."

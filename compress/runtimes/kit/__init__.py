"""The build kit: a folder that builds, measures and reports on the board with one command."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Template

import compress
from compress.errors import TargetError
from compress.model import JsonValue, Model
from compress.runtimes.engine_files import write_graph
from compress.runtimes.kit.board import build_arguments, measure_arguments
from compress.runtimes.sparse_weights import find_sparse
from compress.runtimes.tensorrt_builder import MAX_BATCH
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


def write_kit(model: Model, target: Target, folder: Path) -> Kit:
    """Write the kit into the (existing) folder and return its files; equal graphs give equal files.

    Raises:
        TargetError: An axis other than the batch is dynamic.
    """
    inputs = _describe_inputs(model, target)
    graph = write_graph(model, folder)
    facts: dict[str, JsonValue] = {
        "target": target.name,
        "compute_capability": target.compute_capability,
        "tool_version": compress.__version__,
        "model_sha256": hash_file(graph),
        "max_batch": MAX_BATCH,
        "workspace_mib": target.memory.bytes // _WORKSPACE_SHARE // 2**20 if target.memory else None,
        "sparse": bool(find_sparse(model, target)),
        "inputs": inputs,
    }
    readme = Template((_HERE / "README.template.md").read_text(encoding="utf-8")).substitute(
        target=target.name,
        sha256=facts["model_sha256"],
        requirement=_requirement(target),
        build=shlex.join(build_arguments(facts)),
        measure=shlex.join(measure_arguments(facts)),
    )
    contents = {
        "kit.json": json.dumps(facts, indent=2, sort_keys=True) + "\n",
        "board.py": (_HERE / "board.py").read_text(encoding="utf-8"),
        "run.sh": (_HERE / "run.sh").read_text(encoding="utf-8"),
        "README.md": readme,
    }
    for name, text in contents.items():
        write_atomically(folder / name, text.encode())
    script = folder / "run.sh"
    script.chmod(0o755)
    return Kit(script, graph, (graph, *(folder / name for name in sorted(contents))))


def _describe_inputs(model: Model, target: Target) -> list[JsonValue]:
    """Return name, dtype and shape of each input, the dynamic batch as None."""
    described: list[JsonValue] = []
    for spec in model.inputs:
        for axis, size in enumerate(spec.shape[1:], start=1):
            if isinstance(size, str):
                raise TargetError(
                    f"target {target.name}: input `{spec.name}`: axis {axis} (`{size}`) is dynamic;"
                    " TensorRT needs a size for every axis but the batch",
                    hint="fix the shape under [model] inputs in compress.toml",
                )
        shape: list[JsonValue] = [size if isinstance(size, int) else None for size in spec.shape]
        described.append({"name": spec.name, "dtype": spec.dtype, "shape": shape})
    return described


def _requirement(target: Target) -> str:
    if target.name == "jetson-thor":
        return "JetPack 7, as flashed."
    if target.board is not None:
        return "JetPack 6 (TensorRT 10.3) or later, as flashed: `sudo apt install nvidia-jetpack` brings all of it."
    return "an NVIDIA driver, TensorRT 10.3 or later with `trtexec`, and Python 3.8 or later."

"""``compress inspect MODEL``: what a model is, what each layer costs, and what INT8 and pruning could do to it."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.cli.inspect_pruning import Pruning
    from compress.intake import Intake
    from compress.measure.cost import LayerCost
    from compress.model import JsonValue

SCHEMA = "compress.inspect/1"

_UNCUT = 10_000


@dataclass(frozen=True, slots=True)
class DialectUse:
    """What one INT8 dialect would do to the model: compute nodes it quantizes, of how many, and who speaks it."""

    dialect: str
    quantizable: int
    compute: int
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that the command prints."""

    intake: "Intake"
    layers: "tuple[LayerCost, ...]"
    dialects: tuple[DialectUse, ...]
    pruning: "Pruning"
    notes: tuple[str, ...]


def add_parser(subparsers: "Subparsers") -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what a model is, its cost per layer, and what could be done to it",
        description="Show what a model file is, what each layer costs at batch 1, which INT8 dialects apply, and what "
        "pruning could cut.",
    )
    parser.add_argument("model", type=Path, help="a torch.export archive, state dict, safetensors, TorchScript or ONNX")
    parser.add_argument("--input", action="append", default=[], metavar="SPEC", help="image=batch,3,224,224:float32")
    parser.add_argument("--factory", metavar="MODULE:CALLABLE", help="makes the module that a state dict belongs to")
    parser.add_argument("--trust-pickle", action="store_true", help="run the code in a pickled module: only your own")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the inspection and return 0.

    Raises:
        CompressError: The model cannot be taken in.
    """
    from compress.cli.console import SafeConsole
    from compress.cli.inspect_tables import print_inspection

    found = inspect_model(options)
    if options.json:
        print(json.dumps(to_json(found), indent=2))
    else:
        console = SafeConsole()
        if not console.is_terminal:
            # Piped output is read by programs and pagers: no column may be cut to a width that nobody has.
            console.width = _UNCUT
        print_inspection(found, console)
    return 0


def inspect_model(options: argparse.Namespace) -> Inspection:
    """Return what is to be known about the model of the command line.

    Raises:
        CompressError: The model cannot be taken in.
    """
    from compress.cli.inspect_pruning import find_pruning
    from compress.intake import IntakeOptions, take_in
    from compress.measure.cost import assumed_sizes, count_cost, sum_cost
    from compress.project import load_project, parse_input

    project = load_project(options.model)
    intake = take_in(
        options.model,
        IntakeOptions(
            inputs=tuple(parse_input(text) for text in options.input) or project.model.inputs,
            factory=options.factory or project.model.factory,
            trust_pickle=options.trust_pickle,
            search_path=project.folder,
        ),
    )
    layers = count_cost(intake.model)
    notes = [*intake.notes]
    notes += [f"Costs assume {name} = {size}." for name, size in assumed_sizes(intake.model).items()]
    if unknown := sum_cost(layers).unknown:
        notes.append(f"{unknown} of {len(layers)} layers have shapes that depend on values: their cost is not counted.")
    pruning = find_pruning(intake.trainable)
    notes += [pruning.problem] if pruning.problem else []
    return Inspection(intake, layers, _dialects(intake), pruning, tuple(notes))


def to_json(found: Inspection) -> "dict[str, JsonValue]":
    """Return the inspection as JSON: bytes and counts, no rounded numbers."""
    from compress.measure.cost import sum_cost

    intake, model = found.intake, found.intake.model
    return {
        "schema": SCHEMA,
        "path": intake.path.name,
        "kind": intake.kind,
        "sha256": intake.sha256,
        "bytes": intake.bytes,
        "opset": model.graph.opset_imports.get("", 0),
        "inputs": [{"name": s.name, "dtype": s.dtype, "shape": list(s.shape)} for s in model.inputs],
        "outputs": [{"name": s.name, "dtype": s.dtype, "shape": list(s.shape)} for s in model.outputs],
        "parameters": intake.parameters,
        "totals": asdict(sum_cost(found.layers)),
        "layers": [_layer_json(layer) for layer in found.layers],
        "dialects": [{**asdict(use), "targets": list(use.targets)} for use in found.dialects],
        "pruning": found.pruning.to_json(),
        "notes": list(found.notes),
    }


def _dialects(intake: "Intake") -> tuple[DialectUse, ...]:
    from typing import get_args

    from compress.errors import TargetError
    from compress.quantize.plan import count_quantizable
    from compress.targets import DialectName, load_target, load_targets

    speakers: dict[str, list[str]] = {name: [] for name in get_args(DialectName)}
    for target in load_targets():
        try:
            speakers[load_target(target.name).dialect].append(target.name)
        except TargetError:
            # The instruction set of this CPU is unknown: `cpu` speaks no dialect here.
            continue
    return tuple(
        DialectUse(name, *count_quantizable(intake.model, name), tuple(speakers[name]))
        for name in get_args(DialectName)
    )


def _layer_json(layer: "LayerCost") -> "JsonValue":
    shape = None if layer.output_shape is None else list(layer.output_shape)
    return {**asdict(layer), "output_shape": shape}

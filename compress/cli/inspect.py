"""``compress inspect MODEL``: what a model is, what each layer costs, and what INT8 could do to it."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from compress.cli import Subparsers
    from compress.intake import Intake
    from compress.measure.cost import LayerCost, Totals
    from compress.model import JsonValue

SCHEMA = "compress.inspect/1"

_UNCUT = 10_000
_NUMERIC = ("layers", "MACs", "share", "parameters", "weights", "activations")


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
    notes: tuple[str, ...]


def add_parser(subparsers: "Subparsers") -> None:
    """Add the command's flags."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what a model is, its cost per layer, and what INT8 could do to it",
        description="Show what a model file is, what each layer costs at batch 1, and which INT8 dialects apply.",
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
    from rich.console import Console

    found = inspect_model(options)
    if options.json:
        print(json.dumps(to_json(found), indent=2))
    else:
        console = Console()
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
    return Inspection(intake, layers, _dialects(intake), tuple(notes))


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
        "notes": list(found.notes),
    }


def print_inspection(found: Inspection, console: "Console") -> None:
    """Print the inspection: facts, cost by operator and by layer, dialects, notes; plain where nobody watches."""
    from rich.text import Text

    plain = not console.is_terminal
    for what, value in _facts(found):
        console.print(Text.assemble((f"{what:<12}", "bold"), value), soft_wrap=plain)
    for title, rows in (
        ("Cost by operator", _operator_rows(found.layers)),
        ("Cost by layer (batch 1)", _layer_rows(found.layers)),
        ("INT8 dialects", _dialect_rows(found.dialects)),
    ):
        console.print()
        console.print(Text(title, "bold"))
        console.print(_table(rows, plain=plain))
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=plain)


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


def _facts(found: Inspection) -> list[tuple[str, str]]:
    from compress.measure.cost import sum_cost
    from compress.report.units import format_bytes

    intake, model, totals = found.intake, found.intake.model, sum_cost(found.layers)
    return [
        ("model", f"{intake.path.name} ({intake.kind}, {format_bytes(intake.bytes)})"),
        *(("input", str(spec)) for spec in model.inputs),
        *(("output", str(spec)) for spec in model.outputs),
        ("opset", str(model.graph.opset_imports.get("", 0))),
        ("parameters", f"{intake.parameters:,}"),
        ("weights", format_bytes(totals.weight_bytes)),
        ("MACs", f"{totals.macs:,} at batch 1"),
    ]


def _operator_rows(layers: "Sequence[LayerCost]") -> list[tuple[str, ...]]:
    from compress.measure.cost import sum_cost

    groups: dict[str, list[LayerCost]] = {}
    for layer in layers:
        groups.setdefault(layer.op, []).append(layer)
    sums = {op: sum_cost(members) for op, members in groups.items()}
    ordered = sorted(sums, key=lambda op: (-sums[op].macs, -sums[op].activation_bytes, op))
    whole = sum_cost(layers)
    rows: list[tuple[str, ...]] = [("operator", "layers", "MACs", "share", "parameters", "weights", "activations")]
    for op, total in [*((op, sums[op]) for op in ordered), ("total", whole)]:
        macs, share, weights, activations = _cost_cells(total, whole.macs)
        rows.append((op, str(total.layers), macs, share, _count(total.parameters), weights, activations))
    return rows


def _layer_rows(layers: "Sequence[LayerCost]") -> list[tuple[str, ...]]:
    whole = sum(layer.macs for layer in layers)
    rows: list[tuple[str, ...]] = [("layer", "operator", "output", "MACs", "share", "weights", "activations")]
    for layer in layers:
        shape = "?" if layer.output_shape is None else "×".join(map(str, layer.output_shape)) or "scalar"
        rows.append((layer.name, layer.op, shape, *_cost_cells(layer, whole)))
    return rows


def _cost_cells(cost: "LayerCost | Totals", whole: int) -> tuple[str, str, str, str]:
    from compress.report.units import format_bytes

    share = f"{100 * cost.macs / whole:.1f} %" if whole and cost.macs else ""
    return (
        _count(cost.macs),
        share,
        format_bytes(cost.weight_bytes) if cost.weight_bytes else "",
        format_bytes(cost.activation_bytes),
    )


def _count(number: int) -> str:
    """Return a count with three significant digits, nothing for 0."""
    for unit, name in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= unit:
            return f"{number / unit:.{max(0, 3 - len(str(number // unit)))}f}{name}"
    return str(number) if number else ""


def _dialect_rows(dialects: Sequence[DialectUse]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("dialect", "quantizes", "targets")]
    rows += [
        (use.dialect, f"{use.quantizable} of {use.compute} compute nodes", ", ".join(use.targets) or "none")
        for use in dialects
    ]
    return rows


def _table(rows: Sequence[tuple[str, ...]], *, plain: bool) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=True, padding=(0, 1))
    for title in rows[0]:
        numeric = title in _NUMERIC
        table.add_column(
            title,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric or title in ("operator", "output"),
        )
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _layer_json(layer: "LayerCost") -> "JsonValue":
    shape = None if layer.output_shape is None else list(layer.output_shape)
    return {**asdict(layer), "output_shape": shape}

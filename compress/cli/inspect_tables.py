"""The tables that ``compress inspect`` prints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from compress.cli.inspect import DialectUse, Inspection
    from compress.cli.inspect_pruning import Pruning
    from compress.measure.cost import LayerCost, Totals

_NUMERIC = (
    "layers",
    "MACs",
    "share",
    "parameters",
    "weights",
    "activations",
    "units",
    "blocks",
    "axes",
    "share of parameters",
)
_SHOWN = 5
"""Reasons for which axes are protected."""


def print_inspection(found: "Inspection", console: "Console") -> None:
    """Print the inspection: facts, cost by operator and by layer, dialects, notes; plain where nobody watches."""
    from rich.text import Text

    plain = not console.is_terminal
    for what, value in _facts(found):
        console.print(Text.assemble((f"{what:<12}", "bold"), value), soft_wrap=plain)
    for title, rows in (
        ("Cost by operator", _operator_rows(found.layers)),
        ("Cost by layer (batch 1)", _layer_rows(found.layers)),
        ("INT8 dialects", _dialect_rows(found.dialects)),
        *_pruning_tables(found.pruning),
    ):
        console.print()
        console.print(Text(title, "bold"))
        console.print(_table(rows, plain=plain))
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=plain)


def _facts(found: "Inspection") -> list[tuple[str, str]]:
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
        rows.append((op, str(total.layers), macs, share, format_count(total.parameters), weights, activations))
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
        format_count(cost.macs),
        share,
        format_bytes(cost.weight_bytes) if cost.weight_bytes else "",
        format_bytes(cost.activation_bytes),
    )


def format_count(number: int) -> str:
    """Return a count with three significant digits, nothing for 0."""
    for unit, name in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= unit:
            return f"{number / unit:.{max(0, 3 - len(str(number // unit)))}f}{name}"
    return str(number) if number else ""


def _dialect_rows(dialects: "Sequence[DialectUse]") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("dialect", "quantizes", "targets")]
    rows += [
        (use.dialect, f"{use.quantizable} of {use.compute} compute nodes", ", ".join(use.targets) or "none")
        for use in dialects
    ]
    return rows


def _pruning_tables(pruning: "Pruning") -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return the groups that pruning could cut, and why the rest stays, the largest weights first."""
    groups: list[tuple[str, ...]] = [("group", "family", "units", "blocks", "rounding", "share of parameters")]
    groups += [
        (use.name, use.family, str(use.units), str(use.blocks), f"× {use.multiple}", f"{100 * use.share:.1f} %")
        for use in pruning.groups
    ]
    blocked: list[tuple[str, ...]] = [("reason", "axes", "for example")]
    blocked += [
        (reason.reason, str(reason.axes), f"{reason.example}, axis {reason.example_axis}")
        for reason in pruning.reasons[:_SHOWN]
    ]
    share = f"What pruning could cut ({100 * pruning.covered:.1f} % of the parameters are in a group)"
    tables = [(share if pruning.groups else "What pruning could cut: nothing", groups)]
    return tables + ([("Protected from pruning", blocked)] if pruning.reasons else [])


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

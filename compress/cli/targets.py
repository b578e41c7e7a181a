"""``compress targets [NAME]``: which devices there are, and what this machine can build and run for each."""

import argparse
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.runtimes import Availability
    from compress.targets import Target

COLUMNS = ("target", "runtime", "device", "INT8 dialect", "build", "run", "why not")


@dataclass(frozen=True, slots=True)
class Row:
    """One target and what this machine can do for it."""

    target: "Target"
    availability: "Availability"

    @property
    def builds(self) -> Literal["yes", "kit", "no"]:
        """``kit``: a folder that builds the engine on the device."""
        if self.availability.build:
            return "yes"
        return "kit" if self.availability.kit else "no"

    def cells(self) -> tuple[str, ...]:
        """Return one text for each of ``COLUMNS``."""
        target, found = self.target, self.availability
        device = target.isa or (
            f"compute {', '.join(target.compute_capabilities)}" if target.compute_capabilities else ""
        )
        runs = "yes" if found.run else "no"
        return (target.name, target.runtime, device, target.dialect, self.builds, runs, found.reason or "")


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "targets",
        help="list or show targets, and what this machine can build and run",
        description="List all targets, or show everything about one: limits, peak rates and where each number is from.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a target or an alias; without it, all are listed")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the list, or one target with its sources, and return 0."""
    from compress.targets import load_target, load_targets

    if options.name is not None:
        row = assess(load_target(options.name))
        print(json.dumps(_to_json(row), indent=2) if options.json else "\n".join(_describe(row)))
        return 0
    rows = [assess(_detected(target)) for target in load_targets()]
    if options.json:
        print(json.dumps([_to_json(row) for row in rows], indent=2))
    else:
        _print_rows(rows)
    return 0


def assess(target: "Target") -> Row:
    """Return what this machine can do for a target."""
    from compress.runtimes import load_runtime

    return Row(target, load_runtime(target.runtime).available(target))


def _detected(target: "Target") -> "Target":
    """Return the target for this machine, or as the file says where its instruction set cannot be told."""
    from compress.errors import TargetError
    from compress.targets import load_target

    try:
        return load_target(target.name)
    except TargetError:
        return target


def _print_rows(rows: list[Row]) -> None:
    from rich.table import Table

    from compress.cli.console import SafeConsole

    console = SafeConsole()
    cells = [row.cells() for row in rows]
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
        for line in (COLUMNS, *cells):
            print("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())
        return
    table = Table(box=None, pad_edge=False)
    for title in COLUMNS:
        table.add_column(title, no_wrap=title in ("target", "build", "run"))
    for line in cells:
        table.add_row(*line)
    console.print(table)


def _describe(row: Row) -> list[str]:
    """Return the lines that show one target."""
    target, found = row.target, row.availability
    lines = [f"{target.name}: {target.description}"]
    lines += [f"  {name:<12} {value}" for name, value in _facts(target) if value]
    lines.append(f"  {'build here':<12} {row.builds}")
    lines.append(f"  {'run here':<12} {'yes' if found.run else 'no'}")
    lines += [f"  {name:<12} {text}" for name, text in (("why not", found.reason), ("mend", found.hint)) if text]
    lines += [f"  {name:<12} {version}" for name, version in found.versions.items()]
    if target.memory is not None:
        bandwidth = target.memory.bandwidth_bytes_per_second
        speed = f", {bandwidth / 1e9:g} GB/s" if bandwidth else ""
        lines += [f"  {'memory':<12} {target.memory.bytes / 2**30:g} GiB{speed}", f"      {target.memory.source}"]
    for peak in target.peaks:
        rate = f"{peak.operations_per_second / 1e12:g} T operations/s, dense"
        lines += [f"  peak {peak.precision:<7} {rate}", f"      {peak.source}"]
    return lines + [f"  note: {note}" for note in target.notes]


def _facts(target: "Target") -> list[tuple[str, str | None]]:
    return [
        ("aliases", ", ".join(target.aliases)),
        ("runtime", target.runtime),
        ("provider", target.provider),
        ("ISA", target.isa),
        ("compute", ", ".join(target.compute_capabilities)),
        ("board", target.board),
        ("DLA cores", None if target.dla is None else f"{target.dla.cores} ({target.dla.source})"),
        ("dialect", target.dialect),
        ("precisions", ", ".join(target.precisions)),
        ("sparsity", ", ".join(target.sparsity)),
        ("opset", f"up to {target.opset}"),
        ("nearest", target.nearest),
    ]


def _to_json(row: Row) -> dict[str, object]:
    found = row.availability
    here = {
        "build": row.builds,
        "run": found.run,
        "reason": found.reason,
        "hint": found.hint,
        "versions": dict(found.versions),
    }
    return {**row.target.model_dump(mode="json"), "dialect": row.target.dialect, "here": here}

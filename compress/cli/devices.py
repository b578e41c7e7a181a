"""``compress devices add|list|check|remove``: boards that are reached over SSH, by name."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from compress.cli import Subparsers
    from compress.devices.names import NamedDevice
    from compress.devices.ssh.probe import BoardFacts

_EPILOG = """\
examples:
  compress devices add my-pi ssh://pi@raspberrypi.local --python '~/ort/bin/python'
  compress devices check my-pi
  compress run model.pt --target raspberry-pi-5 --device my-pi

Nothing is installed on a board: an agent (one file) is copied, works, and removes itself.
"""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "devices",
        help="keep and check boards that are reached over SSH",
        description="Keep boards by name in your config folder, and check what works there.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="keep a board under a name")
    add.add_argument("name", metavar="NAME")
    add.add_argument("address", metavar="ADDRESS", help="ssh://user@host[:port]; the host may be one of ~/.ssh/config")
    add.add_argument("--python", default="python3", metavar="PATH", help="the board's interpreter with the runtime")
    add.add_argument("--folder", metavar="PATH", help="where the agent works there (default: ~/.cache)")
    add.add_argument("--ssh", default="", metavar="OPTIONS", help="more options for ssh: '-i ~/.ssh/boards'")
    add.add_argument("--replace", action="store_true", help="replace a board of that name")
    actions.add_parser("list", help="show the boards")
    check = actions.add_parser("check", help="connect, and show what the board is and has")
    check.add_argument("name", metavar="NAME|ADDRESS")
    remove = actions.add_parser("remove", help="forget a board")
    remove.add_argument("name", metavar="NAME")


def run(options: argparse.Namespace) -> int:
    """Do what was asked; return 0."""
    actions = {"add": _add, "list": _list, "check": _check, "remove": _remove}
    actions[options.action](options)
    return 0


def _add(options: argparse.Namespace) -> None:
    from compress.devices.cpus import CPUS, LOCAL
    from compress.devices.names import NamedDevice, read_devices, write_devices
    from compress.errors import UsageError

    known = dict(read_devices())
    if options.name == LOCAL or options.name in CPUS:
        raise UsageError(f"`{options.name}` means something else", hint="choose another name")
    if options.name in known and not options.replace:
        raise UsageError(f"there is a device `{options.name}`: {known[options.name].address}", hint="add --replace")
    device = NamedDevice(address=options.address, python=options.python, folder=options.folder, ssh=options.ssh)
    device.board()
    path = write_devices({**known, options.name: device})
    print(f"{options.name} is {options.address} (in {path})")
    print(f"next: compress devices check {options.name}")


def _list(options: argparse.Namespace) -> None:  # noqa: ARG001 one shape for all
    from rich.table import Table

    from compress.cli.console import SafeConsole
    from compress.devices.names import devices_file, read_devices

    devices = read_devices()
    if not devices:
        print(f"no devices in {devices_file()}: compress devices add NAME ssh://user@host")
        return
    table = Table("name", "address", "python", "folder", "ssh options")
    for name, device in devices.items():
        table.add_row(name, device.address, device.python, device.folder or "", device.ssh)
    SafeConsole().print(table)


def _check(options: argparse.Namespace) -> None:
    from compress.cli.console import SafeConsole
    from compress.devices.choose import parse_device
    from compress.devices.ssh.address import Board
    from compress.devices.ssh.probe import probe_board
    from compress.errors import UsageError

    board = parse_device(options.name)
    if not isinstance(board, Board):
        raise UsageError(f"`{options.name}` is no board over SSH", hint="`compress doctor` checks this machine")
    console = SafeConsole()
    console.print(_describe(board.device, probe_board(board)))


def _describe(device: str, facts: "BoardFacts") -> "Table":
    from rich.table import Table

    from compress.devices.ssh.probe import list_fitting, read_throttled
    from compress.report.units import format_bytes

    runtimes = facts.runtimes
    rows = {
        "board": facts.board.get("name"),
        "CPU": f"{facts.cpu}, {facts.host.cores} cores, {facts.isa or 'an instruction set that is not known'}",
        "memory": format_bytes(facts.host.memory_bytes),
        "system": f"{facts.host.system}, Python {facts.host.python}",
        "ONNX Runtime": runtimes.get("onnxruntime") or "missing: pip install onnxruntime into that Python",
        "trtexec": runtimes.get("trtexec") or "not there (only NVIDIA boards need it)",
        "L4T": facts.board.get("l4t"),
        "JetPack": facts.board.get("jetpack"),
        "power mode": facts.board.get("power_mode"),
        "clocks": facts.board.get("clocks"),
        "throttled now": ", ".join(read_throttled(facts)) or "no",
        "targets": ", ".join(list_fitting(facts)) or "none",
    }
    table = Table(show_header=False, title=device)
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _remove(options: argparse.Namespace) -> None:
    from compress.devices.names import read_devices, write_devices
    from compress.errors import UsageError, suggest

    known: dict[str, NamedDevice] = dict(read_devices())
    if options.name not in known:
        raise UsageError(f"no device `{options.name}`", hint=suggest(options.name, known))
    del known[options.name]
    print(f"{options.name} is forgotten (in {write_devices(known)})")

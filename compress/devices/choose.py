"""What ``--device`` may say: this machine, an emulated CPU, a board by its address, or a board by its name."""

from compress.devices.cpus import CPUS, LOCAL, EmulatedCpu
from compress.devices.names import devices_file, read_devices
from compress.devices.ssh.address import SCHEME, Board, parse_address
from compress.errors import UsageError, suggest


def parse_device(text: str) -> EmulatedCpu | Board | None:
    """Return the emulated CPU or the board that ``--device`` names, or None for ``local``, this machine.

    Raises:
        UsageError: None of them; the hint names the nearest.
        ConfigError: The file of named devices is not valid.
    """
    if text == LOCAL:
        return None
    emulated = {cpu.device: cpu for cpu in CPUS.values()}
    if text in emulated:
        return emulated[text]
    if text.startswith(SCHEME):
        return parse_address(text)
    named = read_devices()
    if text in named:
        return named[text].board()
    known = [LOCAL, *emulated, "ssh://user@host", *named]
    raise UsageError(f"unknown device `{text}`", hint=f"{suggest(text, known)} Names come from {devices_file()}.")

"""Where the data folders live: inside the installed wheel, or beside the package in a checkout."""

from pathlib import Path
from typing import Literal

Folder = Literal["targets", "calibration", "reports"]

_PACKAGE = Path(__file__).parent


def data_folder(name: Folder) -> Path:
    """Return the folder ``targets``, ``calibration`` or ``reports`` of this installation.

    The wheel carries them under ``compress/_data``; an editable install or a checkout has them beside ``compress``.
    """
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name

"""Measuring on a board: over SSH, or from the report that a build kit wrote there."""

from compress.onboard.kits import fill_kit
from compress.onboard.run import measure_on_board

__all__ = ["fill_kit", "measure_on_board"]

"""Where an engine's time goes: trtexec's own profile, from a run apart, since timing layers slows them down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .common import run_logged
from .trtexec import ENGINE, measure_arguments

PROFILE = "profile.json"
SECONDS = 2.0


def profile_layers(program: str, kit: dict[str, Any], folder: Path) -> list[dict[str, Any]] | None:
    """Return each layer's name and mean seconds in a run, in the engine's order; None where trtexec does not tell."""
    arguments = measure_arguments(kit, engine=ENGINE, seconds=SECONDS)
    log = run_logged([program, *arguments, "--dumpProfile", f"--exportProfile={PROFILE}"], folder / "profile.log")
    try:
        entries = json.loads((folder / PROFILE).read_text(encoding="utf-8")) if log is not None else []
        # The first entry counts the runs.
        return [{"name": e["name"], "seconds": e["averageMs"] / 1000} for e in entries if "name" in e] or None
    except (OSError, ValueError, KeyError, TypeError):
        return None

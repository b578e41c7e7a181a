"""The timing cache: what TensorRT measured of its kernels, so that the next build need not measure it again.

It is an input like the graph: which kernels an engine has depends on it, so its digest is stated with the engine. The
file that the project names is only read; what a build has added goes into a file beside the engine, and whoever wants
it in the next build copies it over. TensorRT-RTX has no timing cache: it chooses kernels on the user's GPU, where its
runtime cache keeps what was compiled (its functions of that name do nothing since version 1.2), so nothing is read or
written for it. That runtime cache is made from a loaded engine (``ICudaEngine.create_runtime_config``), and an engine
loads on a GPU only, so there is none to ship with what was compiled elsewhere. Engines are not compared by hash in any
case: two builds with one cache may differ.
"""

from pathlib import Path
from typing import Final

from compress.store import hash_file

FILE: Final = "timing.cache"
"""What is written beside an engine."""


def describe_timing_cache(path: Path | None, after: bytes | None) -> tuple[str, ...]:
    """Return the sentence for the report about a cache that was read; none where there was none.

    Args:
        path: The file that was read.
        after: The cache after the build.
    """
    if path is None or after is None:
        return ()
    before = path.stat().st_size
    told = (
        f"Timing cache {path.name} was read ({before:,} bytes, SHA-256 {hash_file(path)[:12]}…);"
        f" {FILE} beside the engine has what this build knows ({len(after):,} bytes): copy it over for the next one."
    )
    return (told,)


def describe_no_timing_cache(path: Path | None) -> tuple[str, ...]:
    """Return the sentence for the report of a runtime that has no timing cache; none where none was asked for."""
    if path is None:
        return ()
    return (f"Timing cache {path.name} is left aside: TensorRT-RTX chooses its kernels on the user's GPU.",)

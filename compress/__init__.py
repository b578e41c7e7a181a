"""edge-compress: takes a trained model to a device.

>>> import compress
>>> report = compress.run("model.pt", targets=["jetson"])  # doctest: +SKIP
>>> report.verdict.status  # doctest: +SKIP
'pass'
"""

from typing import TYPE_CHECKING, Any

from compress.errors import CompressError

if TYPE_CHECKING:
    from pathlib import Path

    from compress.report.record import Report
    from compress.targets import Target

__version__ = "0.1.0"
__all__ = ["CompressError", "Report", "__version__", "load_target", "run"]


def run(model: "str | Path | None" = None, *, targets: "list[str] | tuple[str, ...]" = (), **options: Any) -> "Report":
    """Return the report of a model taken to its targets; prints nothing.

    Args:
        model: Path of the model file; None for that of the lock, with ``locked=Path("recipe.lock.toml")``.
        targets: Names of targets; none with ``locked``.
        **options: The fields of :class:`compress.options.RunOptions`: ``data``, ``evaluation``, ``out``, ``recipe``, …

    Raises:
        CompressError: Anything that the caller can mend; ``.hint`` says how, ``.exit_code`` is the command line's.
    """
    from compress.options import RunOptions
    from compress.pipeline import run as run_line

    return run_line(model, RunOptions(targets=tuple(targets), **options), lambda _task, _done, _total: None)


def load_target(name: str) -> "Target":
    """Return a target by name or alias.

    Raises:
        UsageError: No such target.
    """
    from compress.targets import load_target as load

    return load(name)


def __getattr__(name: str) -> Any:
    if name == "Report":
        from compress.report.record import Report

        return Report
    raise AttributeError(f"module 'compress' has no attribute {name!r}")

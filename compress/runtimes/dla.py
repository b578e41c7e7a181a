"""The deep learning accelerator (DLA) of a Jetson Orin: whether it can be used, and what is said of it."""

from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.build_settings import BuildSettings
from compress.runtimes.tensorrt_checks import describe_problems
from compress.runtimes.tensorrt_checks.dla import find_fallbacks
from compress.targets import Target, load_targets

_KINDS = 6
"""Kinds of fallbacks that the report tells; the log has all of them."""


def require_dla(target: Target, settings: BuildSettings) -> None:
    """Raise if a DLA is asked for that the target does not have.

    Raises:
        TargetError: Names the targets that have one.
    """
    if settings.dla and target.dla is None:
        known = ", ".join(each.name for each in load_targets() if each.dla is not None)
        raise TargetError(
            f"target {target.name} has no deep learning accelerator, and [engine] dla asks for one",
            hint=f"leave `dla` out of compress.toml; targets that have one: {known}",
        )


def describe_dla(model: Model, settings: BuildSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return sentences for the report about what runs on the DLA, and lines for the log; none where it is not used."""
    if not settings.dla:
        return (), ()
    problems, count = find_fallbacks(model)
    kinds = describe_problems(problems)
    more = f"; and {len(kinds) - _KINDS} other kinds, which the log tells" if len(kinds) > _KINDS else ""
    told = f"{count - len(problems)} of {count} nodes may run on it by NVIDIA's documents, which no board confirmed"
    if len(problems) == count:
        told = f"none of {count} nodes would run on it by NVIDIA's documents; it works in float16: use --recipe fp16"
    notes = (f"DLA: {told}.", *((f"DLA: {'; '.join(kinds[:_KINDS])}{more}.",) if kinds else ()))
    return notes, tuple(f"DLA: {problem}" for problem in problems)

"""What became of the samples of one target, as the page shows it."""

from dataclasses import dataclass

from compress.report.html.flips import Changes, find_changes
from compress.report.html.slices import ROWS_SHOWN, SliceChange, compare_slices
from compress.report.html.words import state_classes
from compress.report.measurements import RawMeasurements


@dataclass(frozen=True, slots=True)
class SampleView:
    """Changes of classes, of slices, and the worst samples; ``problem`` says why nothing is known of them."""

    changes: Changes | None = None
    words: str = ""
    slices: tuple[SliceChange, ...] = ()
    hidden_slices: int = 0
    problem: str | None = None


def view_samples(raw: RawMeasurements | str | None, picture_bytes: int) -> SampleView:
    """Return what the page says of the samples.

    Args:
        raw: What was stored of them, or why it cannot be used; None where nothing was.
        picture_bytes: How much their pictures may take.
    """
    if not isinstance(raw, RawMeasurements):
        return SampleView(problem=raw)
    changes, slices = find_changes(raw, picture_bytes), compare_slices(raw)
    words = "" if changes is None else state_classes(changes)
    return SampleView(changes, words, tuple(slices[:ROWS_SHOWN]), len(slices[ROWS_SHOWN:]))

"""Which samples changed sides, and which classes lost, from every sample's outcome under both engines."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.report.flipped import rank_lost
from compress.report.html.pictures import MOST_BYTES, embed_pictures
from compress.report.measurements import RawMeasurements

CLASSES_SHOWN: Final = 20
CHANGES_SHOWN: Final = 20
LONG_TEXT: Final = 60
"""Characters; a longer value of a column is shown as the sample's own text."""
TEXT_SHOWN: Final = 600


@dataclass(frozen=True, slots=True)
class ClassChange:
    """A class: samples that only one of the engines had right, and both recalls as fractions."""

    name: str
    samples: int
    lost: int
    gained: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """What its recall gained; negative where it lost."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class PredictionChange:
    """How many samples of a class went from one prediction to another."""

    label: str
    before: str
    after: str
    samples: int


@dataclass(frozen=True, slots=True)
class Flip:
    """A sample that the original had right and the compressed engine has not; confidences are fractions.

    Attributes:
        picture: A ``data:`` address; None where there is none.
        texts: What its columns hold that is too long to be a slice.
    """

    index: int
    label: str
    before: str
    before_confidence: float | None
    after: str
    after_confidence: float | None
    slices: tuple[tuple[str, str], ...]
    texts: tuple[str, ...] = ()
    picture: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the samples.

    Attributes:
        samples: All of them.
        changed: Those whose prediction is another one.
        lost: Those that only the original had right.
        gained: Those that only the compressed engine has right.
        classes: The classes with the largest changes of recall, the largest loss first.
        hidden_classes: How many changed beside those.
        predictions: The most frequent changes.
        flips: The lost samples, those first that the compressed engine is surest of.
    """

    samples: int
    changed: int
    lost: int
    gained: int
    classes: tuple[ClassChange, ...]
    hidden_classes: int
    predictions: tuple[PredictionChange, ...]
    flips: tuple[Flip, ...]


def find_changes(raw: RawMeasurements, picture_bytes: int = MOST_BYTES) -> Changes | None:
    """Return what became of the samples; None where they have no labels or no classes.

    Args:
        raw: What was stored of them.
        picture_bytes: How much the pictures of the worst may take.
    """
    label, before, after = raw.label, raw.baseline_prediction, raw.compressed_prediction
    if label is None or before is None or after is None:
        return None
    right_before, right_after = before == label, after == label
    lost = right_before & ~right_after
    classes = sorted(_class_changes(raw, right_before, right_after), key=lambda each: each.change)
    half = CLASSES_SHOWN // 2
    shown = classes if len(classes) <= CLASSES_SHOWN else [*classes[:half], *classes[-half:]]
    return Changes(
        samples=len(label),
        changed=int((before != after).sum()),
        lost=int(lost.sum()),
        gained=int((~right_before & right_after).sum()),
        classes=tuple(shown),
        hidden_classes=len(classes) - len(shown),
        predictions=_prediction_changes(raw, label, before, after),
        flips=_flips(raw, picture_bytes),
    )


def _class_changes(raw: RawMeasurements, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> list[ClassChange]:
    assert raw.label is not None  # noqa: S101 - for the type checker: the caller has looked
    found = []
    for number in np.unique(raw.label[before != after]):
        mine = raw.label == number
        count = int(mine.sum())
        lost, gained = int((mine & before & ~after).sum()), int((mine & ~before & after).sum())
        recall = (float(right[mine].mean()) for right in (before, after))
        found.append(ClassChange(_name(raw, int(number)), count, lost, gained, *recall))
    return found


def _prediction_changes(
    raw: RawMeasurements, label: NDArray[np.int32], before: NDArray[np.int32], after: NDArray[np.int32]
) -> tuple[PredictionChange, ...]:
    other = before != after
    triples, counts = np.unique(
        np.stack([label[other], before[other], after[other]], axis=1), axis=0, return_counts=True
    )
    found = []
    for place in np.argsort(-counts, kind="stable")[:CHANGES_SHOWN]:
        true, said, says = (_name(raw, int(number)) for number in triples[place])
        found.append(PredictionChange(true, said, says, int(counts[place])))
    return tuple(found)


def _flips(raw: RawMeasurements, picture_bytes: int) -> tuple[Flip, ...]:
    places = rank_lost(raw)
    pictures = embed_pictures(raw.pictures, places, picture_bytes)
    return tuple(_flip(raw, place, pictures.get(place)) for place in places)


def _flip(raw: RawMeasurements, place: int, picture: str | None) -> Flip:
    def confidence(values: NDArray[np.float32] | None) -> float | None:
        return None if values is None else float(values[place])

    def name(numbers: NDArray[np.int32] | None) -> str:
        return "" if numbers is None else _name(raw, int(numbers[place]))

    columns = [(column, str(values[place])) for column, values in raw.slices.items()]
    return Flip(
        place,
        name(raw.label),
        name(raw.baseline_prediction),
        confidence(raw.baseline_confidence),
        name(raw.compressed_prediction),
        confidence(raw.compressed_confidence),
        tuple((column, value) for column, value in columns if len(value) <= LONG_TEXT),
        tuple(value[:TEXT_SHOWN] for _, value in columns if len(value) > LONG_TEXT),
        picture,
    )


def _name(raw: RawMeasurements, number: int) -> str:
    names = raw.class_names
    return str(names[number]) if names is not None and 0 <= number < len(names) else f"class {number}"

"""Whether calibration samples look like the samples that the engine is measured on."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from compress.data.samples import SampleSet
from compress.data.subset import take

_SAMPLES: Final = 64
_VALUES: Final = 4096
"""Values a sample that are looked at."""
_TAIL: Final = 0.001
"""Share of the values on each side that ranges leave out."""
_WIDER: Final = 1.5
"""Ratio of ranges from which one set does not look like the other."""
_SHIFTED: Final = 0.5
"""Distance of the means, in standard deviations of the calibration samples, from which they do not look alike."""


def describe_drift(calibration: SampleSet, evaluation: SampleSet) -> tuple[str, ...]:
    """Return a sentence for each float input whose values differ between the sets; empty where they look alike.

    Ranges of activations are chosen from the calibration samples: values beyond them are cut off, and steps are too
    coarse for values that fill a small part of them.
    """
    first, second = _values(calibration), _values(evaluation)
    sentences = []
    for name, before in first.items():
        after = second.get(name)
        if after is None or not before.size or not after.size:
            continue
        (a, b), (c, d) = _range(before), _range(after)
        width, other = max(b - a, 1e-12), max(d - c, 1e-12)
        shift = abs(float(after.mean()) - float(before.mean())) / max(float(before.std()), 1e-12)
        if max(width / other, other / width) > _WIDER or shift > _SHIFTED:
            sentences.append(
                f"calibration samples do not look like evaluation samples: `{name}` reaches from {a:.3g} to {b:.3g} "
                f"(mean {before.mean():.3g}) in the first and from {c:.3g} to {d:.3g} (mean {after.mean():.3g}) in the "
                "second; check that both have the same transforms"
            )
    return tuple(sentences)


def _values(samples: SampleSet) -> dict[str, NDArray[np.float64]]:
    """Return some values of every float input, by name; integers (tokens) have no range to speak of."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for batch in take(samples, min(_SAMPLES, len(samples))).batches(1):
        for name, array in batch.inputs.items():
            if np.issubdtype(array.dtype, np.floating):
                flat = array.ravel()
                # An odd stride walks over all columns of an image, whose width is even as a rule.
                found.setdefault(name, []).append(np.asarray(flat[:: (flat.size // _VALUES) | 1], np.float64))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    return float(low), float(high)

"""Bootstrap intervals through SciPy, with bounded memory and quiet degenerate cases."""

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

RESAMPLED_AT_ONCE: Final = 1_000_000
"""Elements: bounds the memory of the bootstrap, whatever the number of samples."""


def bootstrap_interval(
    everything: NDArray[np.int64],
    statistic: Callable[[NDArray[np.int64]], float],
    *,
    seed: int,
    method: Literal["percentile", "bca"],
    confidence: float,
    resamples: int,
) -> tuple[float, float]:
    """Return the ends of a bootstrap interval of ``statistic(indices)`` over drawings of some indices [n].

    Either end is not a number where the method is not defined (BCa without any variation).
    """
    import warnings

    from scipy.stats import DegenerateDataWarning, bootstrap

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        # A degenerate distribution comes back as nan, which the caller handles.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result = bootstrap(
            (everything,),
            statistic,
            n_resamples=resamples,
            batch=max(1, RESAMPLED_AT_ONCE // len(everything)),
            vectorized=False,
            confidence_level=confidence,
            method="BCa" if method == "bca" else "percentile",
            rng=np.random.default_rng(seed),
        )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)

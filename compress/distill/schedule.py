"""The learning rate over a training."""

import math


def learning_rate_factor(share: float, warmup: float, final: float) -> float:
    """Return what the peak learning rate is multiplied with after ``share`` of the training.

    It rises in a line from 0 over the share ``warmup`` and falls along half a cosine to ``final``.

    Source: Loshchilov and Hutter, SGDR (2017), equation 5, one period, with a linear warm-up.
    """
    if share < warmup:
        return share / warmup
    rest = min((share - warmup) / (1.0 - warmup), 1.0)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * rest))

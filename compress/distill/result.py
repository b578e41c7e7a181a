"""What a training did."""

from dataclasses import dataclass
from typing import Literal

from compress.distill.fidelity import HeldOut

Stopped = Literal["steps done", "no improvement", "time budget", "not finite"]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did; the student itself holds the best weights.

    Attributes:
        steps: Optimizer steps done, over all the sessions of a training that was resumed.
        seconds: Likewise.
        best_step: After how many steps the best weights were found; 0 keeps those of the start.
        before: Fidelity at the start.
        after: Fidelity of the best weights.
        stopped: Why training ended.
        batch: Samples a step, over all processes.
        trained: Samples that were trained on.
        history: Steps done, mean loss since the last entry, held-out fidelity.
    """

    steps: int
    seconds: float
    best_step: int
    before: HeldOut
    after: HeldOut
    stopped: Stopped
    batch: int
    trained: int
    history: tuple[tuple[int, float, HeldOut], ...]

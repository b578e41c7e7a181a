"""What a training has done so far, in a form that a checkpoint keeps."""

from dataclasses import asdict, dataclass, field

from compress.distill.checkpoint import State
from compress.distill.fidelity import HeldOut


@dataclass(slots=True)
class Account:
    """What a training has done so far.

    Attributes:
        stale: Looks at the held-out samples since the best.
        rate: What retreats have left of the learning rate.
        loss_sum: Of the steps since the last look.
    """

    before: HeldOut
    best: HeldOut
    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    stale: int = 0
    rate: float = 1.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    history: list[tuple[int, float, HeldOut]] = field(default_factory=list)

    def to_state(self) -> State:
        """Return plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: State) -> "Account":
        """Return the account that :meth:`to_state` was called on."""
        history = [(step, loss, HeldOut(**found)) for step, loss, found in state["history"]]
        both = {key: HeldOut(**state[key]) for key in ("before", "best")}
        return cls(**{**state, **both, "history": history})

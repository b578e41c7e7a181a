"""Sessions of graphs whose batch size is fixed: the last batch is filled up, and the filling cut off again."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from compress.model import Model
from compress.runtimes import Feed, Session


@dataclass(frozen=True, slots=True)
class FixedBatch:
    """A session that takes batches smaller than ``size`` though the graph does not."""

    session: Session
    size: int

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs of the given samples only."""
        count = len(next(iter(feed.values())))
        outputs = self.session.run(fill_batch(feed, self.size))
        return outputs if count == self.size else {name: array[:count] for name, array in outputs.items()}

    def __enter__(self) -> Self:
        self.session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.__exit__(kind, error, trace)


def fill_batch(feed: Feed, size: int | None) -> Feed:
    """Return a feed of at most ``size`` samples filled up to that many with its last one; as it is for None."""
    count = len(next(iter(feed.values())))
    if size is None or count == size:
        return feed
    return {name: np.concatenate([array, np.repeat(array[-1:], size - count, 0)]) for name, array in feed.items()}


def fixed_batch(model: Model) -> int | None:
    """Return the model's batch size where it is fixed, None where it is dynamic."""
    size = model.inputs[0].shape[0] if model.inputs and model.inputs[0].shape else None
    return size if isinstance(size, int) else None


def in_batches(session: Session, model: Model) -> Session:
    """Return a session that takes any batch up to the model's own."""
    size = fixed_batch(model)
    return session if size is None else FixedBatch(session, size)

"""Engines, samples and a clock that behave exactly as a test says."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from compress.data.samples import Array, Batch
from compress.model import TensorSpec


@dataclass
class FakeSession:
    """Computes its outputs from the input ``x`` [batch, classes]; remembers the batch sizes it saw."""

    compute: Callable[[Array], Mapping[str, Array]]
    sizes: list[int] = field(default_factory=list)

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        self.sizes.append(len(feed["x"]))
        return dict(self.compute(feed["x"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass
class FakeSamples:
    """Samples held in memory."""

    x: Array
    labels: Array | None = None
    synthetic: bool = False
    name: str = "fake/test"

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("x", "float32", ("batch", *self.x.shape[1:])),)

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, len(self.x), size):
            part = slice(start, start + size)
            yield Batch({"x": self.x[part]}, None if self.labels is None else self.labels[part])

    def digest(self) -> str:
        return "0" * 64

    def sample_digests(self) -> frozenset[bytes]:
        return frozenset()


@dataclass
class FakeClock:
    """A clock that only moves when a call takes time."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(
        self, seconds: Callable[[int], float], log: list[str] | None = None, name: str = ""
    ) -> Callable[[], None]:
        """Return a call whose n-th run takes ``seconds(n)``."""
        runs = 0

        def call() -> None:
            nonlocal runs
            self.now += seconds(runs)
            runs += 1
            if log is not None:
                log.append(name)

        return call

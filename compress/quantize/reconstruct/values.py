"""What a block reads and what it should give, on samples that are held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.data.samples import Array
from compress.model import Model
from compress.quantize.padding import find_mask
from compress.quantize.reconstruct.blocks import Block
from compress.runtimes import open_graph
from compress.runtimes.batching import fill_batch, fixed_batch

Feed = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Values:
    """Samples of a block.

    Attributes:
        inputs: As the quantized model gives them up to here, by name, [n, …].
        targets: As the float model gives them, by name, [n, …].
        real: Which places are no padding [n, places]; None where all are real.
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    real: Tensor | None

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))

    def pick(self, rows: NDArray[np.int64]) -> "Values":
        """Return some of the samples."""
        index = torch.from_numpy(rows)
        return Values(
            {name: tensor[index] for name, tensor in self.inputs.items()},
            {name: tensor[index] for name, tensor in self.targets.items()},
            None if self.real is None else self.real[index],
        )

    def error(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean squared error of outputs, each relative to the mean square of its target, padding aside."""
        errors = []
        for name, target in self.targets.items():
            off, power = (outputs[name] - target).square(), target.square()
            if self.real is not None and target.ndim > 2 and target.shape[:2] == self.real.shape:
                off, power = off[self.real], power[self.real]
            errors.append(off.mean() / power.mean().clamp(min=torch.finfo(torch.float32).tiny))
        return torch.stack(errors).mean()


def collect(
    block: Block, quantized: Model, original: Model, feeds: Sequence[Feed], *, threads: int, simulate: bool, most: int
) -> Values:
    """Return the values around a block.

    Args:
        block: Of both models.
        quantized: As it is with all blocks before learned.
        original: The float model.
        feeds: Batches of inputs; the last ones are left out where values take too much memory.
        threads: Of the runtime.
        simulate: Whether the quantized graph is computed as it is written, in float.
        most: Bytes that all values may take.
    """
    read = [name for name in block.inputs if name not in {spec.name for spec in quantized.inputs}]
    given = [name for name in block.inputs if name not in read]
    found: list[dict[str, Array]] = []
    taken = 0
    with (
        open_graph(original.to_bytes(), threads=threads, outputs=list(block.outputs)) as first,
        open_graph(quantized.to_bytes(), threads=threads, outputs=read or None, simulate=simulate) as second,
    ):
        for feed in feeds:
            whole = fill_batch(feed, fixed_batch(quantized))
            before = second.run(whole) if read else {}
            batch = {
                **{f"<{name}": np.asarray(before[name]) for name in read},
                **{f"<{name}": whole[name] for name in given},
                **{f">{name}": array for name, array in first.run(whole).items()},
            }
            mask = find_mask(whole)
            if mask is not None:
                batch["real"] = mask
            taken += sum(array.nbytes for array in batch.values())
            if found and taken > most:
                break
            found.append(batch)
    return _join(found)


def _join(found: Sequence[Mapping[str, Array]]) -> Values:
    real = None
    if any("real" in batch for batch in found):
        first = next(batch["real"] for batch in found if "real" in batch)
        whole = np.ones((1, first.shape[1]), np.bool_)
        sizes = [len(next(iter(batch.values()))) for batch in found]
        masks = [batch.get("real", whole.repeat(size, 0)) for batch, size in zip(found, sizes, strict=True)]
        real = torch.from_numpy(np.concatenate(masks))
    joined = {
        name: torch.from_numpy(np.concatenate([batch[name] for batch in found])) for name in found[0] if name != "real"
    }
    return Values(
        {name[1:]: tensor for name, tensor in joined.items() if name[0] == "<"},
        {name[1:]: tensor for name, tensor in joined.items() if name[0] == ">"},
        real,
    )

"""The teacher's outputs on disk, computed once for all samples."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compress.data.samples import Array, SampleSet
from compress.distill.batches import Positions
from compress.distill.distributed import Processes
from compress.distill.tensors import Teacher, to_tensors, widen
from compress.errors import DataError

_DONE = "complete"
_UNFINISHED = ".teacher-"


class TeacherCache:
    """Outputs of a teacher by the position of the sample, in one mapped file an output."""

    def __init__(self, folder: Path) -> None:
        """Open a folder that :func:`fill_cache` made."""
        files = sorted(folder.glob("*.npy"), key=lambda path: int(path.stem))
        names = (folder / _DONE).read_text(encoding="utf-8").splitlines()
        self._arrays: Mapping[str, Array] = {
            name: np.load(path, mmap_mode="r") for name, path in zip(names, files, strict=True)
        }

    def at(self, positions: Positions, device: torch.device) -> dict[str, Tensor]:
        """Return the outputs for the samples at some positions."""
        return to_tensors({name: np.array(array[positions]) for name, array in self._arrays.items()}, device)


def fill_cache(
    folder: Path, samples: SampleSet, teacher: Teacher, batch: int, device: torch.device, processes: Processes
) -> TeacherCache:
    """Return the cache in a folder; the first process computes it where it is not there, whole or not at all.

    Raises:
        DataError: There is not enough room on the disk.
    """
    if processes.rank == 0 and not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_UNFINISHED))
        try:
            names = _write(temporary, samples, teacher, batch, device)
            (temporary / _DONE).write_text("\n".join(names), encoding="utf-8")
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary)
            raise
    processes.wait()
    return TeacherCache(folder)


@torch.no_grad()
def _write(folder: Path, samples: SampleSet, teacher: Teacher, batch: int, device: torch.device) -> list[str]:
    files: dict[str, Array] = {}
    start = 0
    for part in samples.batches(batch):
        outputs = widen(teacher(to_tensors(part.inputs, device)))
        if not files:
            _check_room(folder, outputs, len(samples), batch=len(part))
        for name, tensor in outputs.items():
            array = tensor.cpu().numpy()
            if name not in files:
                path = folder / f"{len(files)}.npy"
                files[name] = np.lib.format.open_memmap(
                    path, mode="w+", dtype=array.dtype, shape=(len(samples), *array.shape[1:])
                )
            files[name][start : start + len(part)] = array
        start += len(part)
    return list(files)


def _check_room(folder: Path, outputs: Mapping[str, Tensor], count: int, *, batch: int) -> None:
    needed = sum(tensor.nbytes for tensor in outputs.values()) // batch * count
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the teacher's outputs of {count} samples take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are left",
            hint="set teacher_cache = false: the teacher then runs at every step",
        )

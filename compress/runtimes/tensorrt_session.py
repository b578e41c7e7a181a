"""Running a TensorRT engine on the GPU here, with torch's CUDA tensors as its memory."""

from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from compress.errors import DataError, TargetError
from compress.runtimes import Engine, Feed
from compress.runtimes.tensorrt_builder import make_logger
from compress.runtimes.tensorrt_profile import PROVIDER, make_recorder, read_layer_types
from compress.runtimes.variants import RanNode


def open_plan(trt: ModuleType, engine: Engine) -> "PlanSession":
    """Return a session of a serialized engine on the first GPU.

    Raises:
        TargetError: torch sees no GPU, or the engine was built for another one.
    """
    import torch

    if not torch.cuda.is_available():
        raise TargetError(
            f"the engine for {engine.target} needs an NVIDIA GPU, and torch sees none here",
            hint="run it on the device; accuracy is simulated on the engine's graph meanwhile",
        )
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    plan = engine.main.read_bytes()
    return PlanSession(trt, plan, "cuda", stream.cuda_stream, stream.synchronize, time_stream(stream))


def time_stream(stream: Any) -> Callable[[Callable[[], bool]], tuple[bool, float]]:
    """Return what enqueues work on a CUDA stream between two events, waits, and tells the seconds between them."""
    import torch

    def timed(enqueue: Callable[[], bool]) -> tuple[bool, float]:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record(stream)
        accepted = enqueue()
        end.record(stream)
        end.synchronize()
        return accepted, float(start.elapsed_time(end)) / 1000

    return timed


class PlanSession:
    """A loaded engine; leaving its context frees it.

    Attributes:
        gpu_seconds: Of every call since it was opened, the GPU's compute alone, by CUDA events; empty without a timer.

    Args:
        trt: The module that built it.
        plan: The serialized engine.
        device: Where torch puts the tensors whose addresses the engine gets.
        stream: Handle of the CUDA stream to run on.
        synchronize: Waits until that stream is done.
        timer: Runs what enqueues work, and tells whether it was accepted and the seconds that the GPU took.
    """

    def __init__(
        self,
        trt: ModuleType,
        plan: bytes,
        device: str,
        stream: int,
        synchronize: Callable[[], None],
        timer: Callable[[Callable[[], bool]], tuple[bool, float]] | None = None,
    ) -> None:
        self.gpu_seconds: list[float] = []
        self._trt, self._timer = trt, timer
        self._engine: Any = trt.Runtime(make_logger(trt)).deserialize_cuda_engine(plan)
        self._context: Any = None if self._engine is None else self._engine.create_execution_context()
        if self._context is None:
            raise TargetError(
                "TensorRT cannot load the engine: it was built for another GPU or another version",
                hint="build it again on this machine",
            )
        self._device, self._stream, self._synchronize = device, stream, synchronize
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._outputs = {
            name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            for name in names
            if name not in self._inputs
        }

    def run(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        """Return the outputs by name for inputs by name, each [batch, …]; big batches are cut up.

        Raises:
            DataError: An input is missing, or of a shape that the engine was not compiled for.
            TargetError: The session is closed, or the GPU refuses.
        """
        if self._context is None:
            raise TargetError("this TensorRT session is closed", hint="open the engine again")
        missing = [name for name in self._inputs if name not in feed]
        if missing:
            raise DataError(f"no value for input `{missing[0]}`", hint=f"the inputs are {', '.join(self._inputs)}")
        batch = len(feed[self._inputs[0]])
        most = int(self._engine.get_tensor_profile_shape(self._inputs[0], 0)[2][0])
        for name in self._inputs:
            self._check_shape(name, feed[name].shape)
        parts = [
            self._run_part({name: feed[name][start : start + most] for name in self._inputs})
            for start in range(0, batch, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        ranges = list(zip(least, most, strict=True))
        fits = len(shape) == len(ranges) and all(
            low <= size <= high for size, (low, high) in zip(shape[1:], ranges[1:], strict=True)
        )
        if not fits:
            told = ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in ranges)
            raise DataError(
                f"input `{name}` has the shape {list(shape)}; the engine was compiled for [{told}]",
                hint="bring the samples to that shape, or state other sizes under [model.ranges] in compress.toml",
            )

    def _run_part(self, feed: Feed) -> dict[str, NDArray[np.generic]]:
        import torch

        # The tensors must outlive the call: the engine only has their addresses.
        inputs = {name: torch.from_numpy(np.ascontiguousarray(feed[name])).to(self._device) for name in feed}
        for name, tensor in inputs.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
            self._context.set_tensor_address(name, tensor.data_ptr())
        outputs: dict[str, torch.Tensor] = {}
        for name, dtype in self._outputs.items():
            empty = torch.from_numpy(np.empty(tuple(self._context.get_tensor_shape(name)), dtype))
            outputs[name] = empty.to(self._device)
            self._context.set_tensor_address(name, outputs[name].data_ptr())
        if not self._enqueue():
            raise TargetError("the GPU refuses to run the engine", hint="see the messages of the NVIDIA driver")
        self._synchronize()
        return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}

    def _enqueue(self) -> bool:
        if self._timer is None:
            return bool(self._context.execute_async_v3(self._stream))
        accepted, seconds = self._timer(lambda: bool(self._context.execute_async_v3(self._stream)))
        self.gpu_seconds.append(seconds)
        return accepted

    def profile(self, feed: Feed, runs: int) -> tuple[RanNode, ...]:
        """Return the layers in the engine's order, with the mean seconds over so many runs of one batch.

        Raises:
            DataError: As :meth:`run`.
            TargetError: As :meth:`run`.
        """
        recorder = make_recorder(self._trt)
        self._context.profiler = recorder
        for _ in range(runs):
            self.run(feed)
        kinds = read_layer_types(self._trt, self._engine)
        return tuple(
            RanNode(name, kinds.get(name, ""), PROVIDER, sum(times) / len(times))
            for name, times in recorder.seconds.items()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context = self._engine = None

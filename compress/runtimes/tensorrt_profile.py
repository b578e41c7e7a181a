"""Layer by layer: TensorRT's profiler, and what the engine inspector says of each layer."""

import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from compress.report.units import format_seconds

PROVIDER: Final = "TensorRT"
"""What runs these layers, in words."""


@runtime_checkable
class TimedOnGpu(Protocol):
    """A session that knows what the GPU alone took for each call, in seconds."""

    gpu_seconds: list[float]


def describe_gpu(seconds: Sequence[float]) -> str:
    """Return a sentence about the GPU's compute alone; the first calls, the warm-up's, weigh little in a median."""
    return f"GPU compute alone, by CUDA events: p50 {format_seconds(float(np.median(seconds)))} (wall clock: above)."


def make_recorder(trt: ModuleType) -> Any:
    """Return a profiler that keeps, in ``seconds``, every layer's times by its name, in the engine's order."""

    class Recorder(trt.IProfiler):  # type: ignore[misc, name-defined]
        """Told each layer's time after every run."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            """Keep one time; the name of the method and of its arguments is TensorRT's."""
            self.seconds.setdefault(layer_name, []).append(ms / 1000)

    return Recorder()


def read_layer_types(trt: ModuleType, engine: Any) -> Mapping[str, str]:
    """Return the type of each layer (``"CaskConvolution"``) by its name; empty where the engine does not hold them.

    An engine built without detailed profiling has its layers' names only.
    """
    inspector = engine.create_engine_inspector()
    try:
        found = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    except (ValueError, TypeError):
        return {}
    layers = found.get("Layers", ()) if isinstance(found, dict) else ()
    return {layer["Name"]: str(layer.get("LayerType", "")) for layer in layers if isinstance(layer, dict)}

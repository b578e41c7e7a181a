"""A TensorRT without a GPU: the calls the project makes, answered in a few lines; its engines compute y = 2·x."""

import ctypes
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx

from compress.runtimes import Engine as EngineRecord


def make_engine(folder: Path, target: str) -> EngineRecord:
    """Return the record of an engine whose files are not looked at."""
    return EngineRecord("tensorrt", "tensorrt", target, folder, folder / "model.engine", folder / "model.onnx", (), {})


class ILogger:
    def __init__(self) -> None:
        self.made = True


class Logger(ILogger):
    """TensorRT's own logger, which prints."""

    WARNING = 2

    def __init__(self, severity: int) -> None:
        super().__init__()
        self.severity = severity

    def log(self, severity: int, message: str) -> None:
        if severity <= self.severity:
            sys.stderr.write(f"[TRT] {message}\n")


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class DeviceType(IntEnum):
    GPU = 0
    DLA = 1


class BuilderFlag(IntEnum):
    """Those of TensorRT 10."""

    FP16 = 0
    INT8 = 1
    GPU_FALLBACK = 3
    PREFER_PRECISION_CONSTRAINTS = 10
    SPARSE_WEIGHTS = 12


_FP16 = 0


class BuilderFlag11(IntEnum):
    """Those of TensorRT 11, whose networks are all strongly typed."""

    GPU_FALLBACK = 3
    SPARSE_WEIGHTS = 12


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 2


class LayerInformationFormat(IntEnum):
    ONELINE = 0
    JSON = 1


class IProfiler:
    pass


class EngineInspector:
    def get_engine_information(self, form: LayerInformationFormat) -> str:
        assert form is LayerInformationFormat.JSON
        return (
            '{"Layers": [{"Name": "conv1 + relu1", "LayerType": "CaskConvolution"}, {"Name": "head"}], "Bindings": []}'
        )


class TensorIOMode(IntEnum):
    INPUT = 0
    OUTPUT = 1


class Tensor:
    def __init__(self, name: str, sizes: list[tuple[int, str]]) -> None:
        self.name, self._sizes = name, sizes
        self.shape = [size or -1 for size, _ in sizes]

    def get_dimension_name(self, axis: int) -> str:
        return self._sizes[axis][1]


class Layer:
    def __init__(self, name: str, outputs: int) -> None:
        self.name, self.num_outputs = name, outputs
        self.precision: str | None = None
        self.types: dict[int, str] = {}

    def set_output_type(self, index: int, dtype: str) -> None:
        self.types[index] = dtype


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.inputs: list[Tensor] = []
        self.layers: list[Layer] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]


class OnnxParser:
    num_errors = 0

    def __init__(self, network: Network, logger: Any) -> None:
        self.network = network

    def parse_from_file(self, path: str) -> bool:
        graph = onnx.load(path).graph
        self.network.layers += [Layer(n.name or f"node_of_{n.output[0]}", len(n.output)) for n in graph.node]
        for value in graph.input:
            self.network.inputs.append(
                Tensor(value.name, [(d.dim_value, d.dim_param) for d in value.type.tensor_type.shape.dim])
            )
        return True


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[list[int], list[int], list[int]]] = {}

    def set_shape(self, name: str, least: list[int], best: list[int], most: list[int]) -> None:
        self.shapes[name] = (least, best, most)


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class Config:
    """A timing cache of ``b"other GPU"`` does not fit."""

    default_device_type = DeviceType.GPU
    profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
    DLA_core = -1

    def __init__(self) -> None:
        self.cache: TimingCache | None = None
        self.limits: dict[MemoryPoolType, int] = {}
        self.profiles: list[Profile] = []
        self.flags: list[BuilderFlag] = []

    def create_timing_cache(self, serialized: bytes) -> TimingCache | None:
        return TimingCache(serialized) if serialized != b"damaged" else None

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return cache.content != b"other GPU" or ignore_mismatch

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.append(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.limits[pool] = size

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profiles.append(profile)


class Builder:
    """``refusal`` makes the next builds fail with that message; ``last`` is what the last one was asked for."""

    refusal: str | None = None
    last: tuple[Network, Config] | None = None

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        Builder.last = (network, config)
        if config.cache is not None:
            config.cache.content += b"+kernel"
        if network.flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED and _FP16 in config.flags:
            self.logger.log(1, "Parameter check failed, condition: !config.getFlag(BuilderFlag::kFP16).")
            return None
        self.logger.log(2, "a warning\n  of two lines")
        self.logger.log(1, "In catchCudaError (cudaError 35: CUDA driver version is insufficient)")
        if Builder.refusal is not None:
            self.logger.log(1, Builder.refusal)
            return None
        self.logger.log(3, "Total Weights Memory: 640 bytes")
        return b"plan"


class Context:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.batches: list[int] = []
        self.works = True
        self.profiler: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[name] = shape

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["x"]

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        count = int(np.prod(self.shapes["x"]))
        x, y = ((ctypes.c_float * count).from_address(self.addresses[name]) for name in ("x", "y"))
        y[:] = [2 * value for value in x]
        self.batches.append(self.shapes["x"][0])
        if self.profiler is not None:
            self.profiler.report_layer_time("conv1 + relu1", 0.5)
            self.profiler.report_layer_time("head", 0.25)
        return self.works


class Engine:
    num_io_tensors = 2

    def __init__(self) -> None:
        self.context = Context()

    def create_execution_context(self) -> Context:
        return self.context

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector()

    def get_tensor_name(self, index: int) -> str:
        return "xy"[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> type[np.float32]:
        return np.float32

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        return ((1, 3), (1, 3), (4, 6))


class Runtime:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        return Engine() if plan == b"plan" else None


float32 = "float32"


def nptype(dtype: type[np.float32]) -> type[np.float32]:
    return dtype


__version__ = "10.3.0"


def as_module() -> ModuleType:
    """Return this module, to stand for ``tensorrt``."""
    return sys.modules[__name__]

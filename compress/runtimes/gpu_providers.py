"""ONNX Runtime's execution providers for NVIDIA GPUs: how each is found, what it is told, what is missing here.

==============  =============================  ===========================================================
provider        its name in ONNX Runtime       where it is from
==============  =============================  ===========================================================
``cuda``        CUDAExecutionProvider          the package onnxruntime-gpu
``tensorrt``    TensorrtExecutionProvider      the package onnxruntime-gpu, and TensorRT's libraries
``tensorrt_rtx``  NvTensorRTRTXExecutionProvider  a plugin, the package onnxruntime-ep-nv-tensorrt-rtx
==============  =============================  ===========================================================

Options, all of them strings: onnxruntime.ai/docs/execution-providers (CUDA, TensorRT) and
nvidia.github.io/TensorRT-RTX-EP-ABI/_generated/provider-options.html. None of this has run on a GPU here: it is tested
with an ONNX Runtime that merely lists the providers.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from compress.errors import TargetError
from compress.model import Model
from compress.runtimes.shape_profile import ShapeRange
from compress.targets import GpuProviderName

if TYPE_CHECKING:
    from onnxruntime import OrtEpDevice

_GPU_WHEEL: Final = "pip uninstall onnxruntime && pip install onnxruntime-gpu"
"""The two packages share one folder: with both installed, the later one wins."""


_DRIVER: Final = "libcuda.so"


@dataclass(frozen=True, slots=True)
class GpuProvider:
    """An execution provider.

    Attributes:
        name: ONNX Runtime's name of it.
        words: Its name in sentences.
        install: The command that installs it.
        prefix: What the names of its options begin with; empty where shapes are of no interest to it.
        plugin: The Python module of a plugin, None for what is built into ONNX Runtime.
    """

    name: str
    words: str
    install: str
    prefix: str = ""
    plugin: str | None = None


PROVIDERS: Final[dict[GpuProviderName, GpuProvider]] = {
    "cuda": GpuProvider("CUDAExecutionProvider", "the CUDA execution provider", _GPU_WHEEL),
    "tensorrt": GpuProvider(
        "TensorrtExecutionProvider", "the TensorRT execution provider", f"{_GPU_WHEEL} tensorrt", "trt_"
    ),
    "tensorrt_rtx": GpuProvider(
        "NvTensorRTRTXExecutionProvider",
        "the TensorRT-RTX execution provider",
        "pip install onnxruntime-ep-nv-tensorrt-rtx",
        "nv_",
        "onnxruntime_ep_nv_tensorrt_rtx",
    ),
}


def require_provider(provider: GpuProvider) -> None:
    """Raise if a provider is not installed; a plugin is loaded, whether it finds a GPU or not.

    Raises:
        TargetError: The hint has the command that installs it.
    """
    import onnxruntime

    if provider.plugin is not None:
        _register(provider)
    elif provider.name not in onnxruntime.get_available_providers():
        raise TargetError(
            f"this ONNX Runtime ({onnxruntime.__version__}) was built without {provider.words} ({provider.name})",
            hint=provider.install,
        )


def list_devices(provider: GpuProvider) -> "list[OrtEpDevice]":
    """Return the GPUs that a plugin lists.

    Raises:
        TargetError: It is not installed, or lists none.
    """
    import onnxruntime

    require_provider(provider)
    found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider.name]
    if not found:
        raise TargetError(
            f"{provider.words} lists no GPU here", hint="it takes RTX cards from Ampere on: check with nvidia-smi"
        )
    return found


@cache
def _register(provider: GpuProvider) -> None:
    """Have ONNX Runtime load a plugin: it takes a name once in a process.

    Raises:
        TargetError: It is not installed, or cannot be loaded.
    """
    import onnxruntime

    module = _find_plugin(provider)
    try:
        onnxruntime.register_execution_provider_library(provider.name, str(module.get_library_path()))
    except Exception as error:  # noqa: BLE001 the binding raises whatever the plugin's loader does
        reason = " ".join(str(error).split()).rpartition(" with error: ")[2]
        hint = "install NVIDIA's driver" if _DRIVER in reason else provider.install
        raise TargetError(f"ONNX Runtime cannot load {provider.words}: {reason}", hint=hint) from None


def _find_plugin(provider: GpuProvider) -> ModuleType:
    """Return the module that knows where the plugin's library lies.

    Raises:
        TargetError: It is not installed.
    """
    name = str(provider.plugin)
    if importlib.util.find_spec(name) is None:
        raise TargetError(f"{provider.words} is not installed", hint=provider.install)
    return importlib.import_module(name)


def provider_options(
    provider: GpuProvider, model: Model, shapes: Mapping[str, ShapeRange], memory_bytes: int | None
) -> dict[str, str]:
    """Return what a provider is told: the GPU, the shapes to compile for, its workspace, and the graph's own types.

    TensorRT-RTX takes types from the graph as they are. The TensorRT provider allows int8 and float16 only where it is
    told to, and Q/DQ graphs and casts need it.

    Args:
        provider: Which one.
        model: The graph that it is to run.
        shapes: The range of shapes of each input that has a dynamic axis.
        memory_bytes: The device's memory; a quarter of it may be used as workspace.
    """
    options = {"device_id": "0"}
    if not provider.prefix:
        return options
    for bound in ("min", "opt", "max"):
        listed = [f"{name}:{'x'.join(map(str, getattr(shape, bound)))}" for name, shape in shapes.items()]
        if listed:
            options[f"{provider.prefix}profile_{bound}_shapes"] = ",".join(listed)
    if memory_bytes is not None:
        options[f"{provider.prefix}max_workspace_size"] = str(memory_bytes // 4)
    if provider.prefix == "trt_":
        nodes = list(model.graph.graph.all_nodes())
        kinds = {value.dtype for node in nodes for value in node.outputs}
        casts = any(node.attributes.get_int("to", 0) == ir.DataType.FLOAT16 for node in nodes if node.op_type == "Cast")
        options["trt_int8_enable"] = str(int(any(node.op_type == "QuantizeLinear" for node in nodes)))
        options["trt_fp16_enable"] = str(int(casts or ir.DataType.FLOAT16 in kinds))
    return options

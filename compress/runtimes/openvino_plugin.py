"""The OpenVINO execution provider, a plugin of ONNX Runtime: where it is, what it can do here, how it is told.

The package ``onnxruntime-ep-openvino`` is found, never imported: its library is all that ONNX Runtime needs.
"""

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compress.errors import TargetError
from compress.machine import cpu_name
from compress.runtimes.engine_options import EngineOptions, FloatPrecision

if TYPE_CHECKING:
    from onnxruntime import OrtEpDevice

PACKAGE: Final = "onnxruntime-ep-openvino"
REGISTRATION: Final = "OpenVINO"
INSTALL: Final = 'pip install "edge-compress[openvino]"'
_MODULE: Final = "onnxruntime_ep_openvino"
_EP: Final = "OpenVINOExecutionProvider"
_HINTS: Final[dict[FloatPrecision, str]] = {"float32": "f32", "bfloat16": "bf16"}


def find_library() -> Path | None:
    """Return the plugin's library, or None where the package is not installed."""
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or spec.origin is None:
        return None
    name = "onnxruntime_providers_openvino_plugin.dll"
    if sys.platform != "win32":
        name = "libonnxruntime_providers_openvino_plugin.so"
    path = Path(spec.origin).with_name(name)
    return path if path.is_file() else None


def find_device() -> "OrtEpDevice":
    """Return this machine's CPU as the plugin sees it.

    Raises:
        TargetError: The plugin is not installed, ONNX Runtime or the plugin refuses, or it lists no device here.
    """
    device = look_for_device()
    if device is None:
        raise TargetError(
            f"OpenVINO's plugin lists no device on this CPU ({cpu_name()})",
            hint="nothing to install: ONNX Runtime's own kernels are used; --providers cpu leaves OpenVINO out",
        )
    return device


def look_for_device() -> "OrtEpDevice | None":
    """Return the CPU that the plugin lists, None where it lists none; ONNX Runtime loads the plugin once in a process.

    Raises:
        TargetError: The plugin is not installed, or ONNX Runtime or the plugin refuses.
    """
    import onnxruntime

    library = find_library()
    if library is None:
        raise TargetError("the OpenVINO execution provider is not installed", hint=INSTALL)
    _register(library)
    for device in onnxruntime.get_ep_devices():
        if device.ep_name == _EP and device.ep_metadata.get("ov_device") == "CPU":
            return device
    return None


@cache
def _register(library: Path) -> None:
    """Have ONNX Runtime load the plugin: it takes a name once in a process, and says no to the second time.

    Raises:
        TargetError: It cannot be loaded.
    """
    import onnxruntime

    try:
        onnxruntime.register_execution_provider_library(REGISTRATION, str(library))
    except Exception as error:  # noqa: BLE001 the binding raises whatever the plugin's loader does
        reason = " ".join(str(error).split())
        raise TargetError(f"ONNX Runtime cannot load the OpenVINO plugin: {reason}", hint=INSTALL) from None


def float_precisions() -> tuple[FloatPrecision, ...]:
    """Return in which precisions OpenVINO can compute floats on this CPU with instructions of its own.

    Without such instructions bfloat16 is emulated, several times slower than float32.
    """
    able = find_device().ep_metadata.get("OPTIMIZATION_CAPABILITIES", "").split()
    return ("float32", "bfloat16") if "BF16" in able else ("float32",)


def provider_options(options: EngineOptions) -> dict[str, str]:
    """Return what the plugin is told: it ignores the session's number of threads, and would choose a precision."""
    told = {"INFERENCE_NUM_THREADS": str(options.threads), "INFERENCE_PRECISION_HINT": _HINTS[options.precision]}
    return {"load_config": json.dumps({"CPU": told})}

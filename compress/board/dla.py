"""What TensorRT needs to build for a Jetson's deep learning accelerator (DLA).

TensorRT 10 wants its builder's FP16 flag for the DLA and refuses that flag for a strongly typed network; its trtexec
sets the flag by itself with --useDLACore. So there such an engine is built weakly typed, and the layers that the graph
computes in float32 are asked to stay so; a board's own TensorRT has the last word. TensorRT 11 has no precision flags:
every network is strongly typed, for the DLA too.

Read for this: samples/common/sampleEngines.cpp, sampleOptions.cpp and samples/trtexec/README.md of
github.com/NVIDIA/TensorRT at v10.3.0 and v11.1; the refusal in its issues 4228 and 4253 (``condition:
!config.getFlag(BuilderFlag::kFP16)``); "Strongly Typed Networks for DLA" in the documentation of TensorRT 11.4.1.
"""

from __future__ import annotations

from typing import Any

CORE = ["--useDLACore=0"]


def list_arguments(dla: dict[str, Any], *, weak: bool) -> list[str]:
    """Return trtexec's arguments that build for the DLA.

    Args:
        dla: What kit.json says: the names of the layers that stay in ``float32``, whether the graph has ``int8``.
        weak: Whether this trtexec builds weakly typed networks, that is, has --fp16.
    """
    arguments = [*CORE, "--allowGPUFallback"]
    if not weak:
        return arguments
    arguments.append("--fp16")
    if dla["int8"]:
        arguments.append("--int8")
    # trtexec splits the list at commas, whatever stands around them.
    pinned = ",".join(f"{name}:fp32" for name in dla["float32"] if not set(name) & set(",'"))
    if pinned:
        arguments += ["--precisionConstraints=prefer", f"--layerPrecisions={pinned}", f"--layerOutputTypes={pinned}"]
    return arguments


def create_network(trt: Any, builder: Any, dla: dict[str, Any] | None) -> Any:
    """Return an empty network: strongly typed, except for the DLA of TensorRT 10."""
    weak = dla is not None and _is_weak(trt)
    return builder.create_network(0 if weak else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))


def use_dla(trt: Any, network: Any, config: Any, dla: dict[str, Any]) -> None:
    """Let layers of a parsed network run on the first DLA core where it takes them, the others on the GPU."""
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = 0
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if not _is_weak(trt):
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if dla["int8"]:
        config.set_flag(trt.BuilderFlag.INT8)
    config.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
    pinned = set(dla["float32"])
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.name in pinned:
            layer.precision = trt.float32
            for output in range(layer.num_outputs):
                layer.set_output_type(output, trt.float32)


def _is_weak(trt: Any) -> bool:
    return hasattr(trt.BuilderFlag, "FP16")

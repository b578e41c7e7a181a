"""How a graph is run: what there is to choose once the graph itself is fixed, as data."""

from dataclasses import dataclass
from typing import Final, Literal

Provider = Literal["cpu", "openvino"]
FloatPrecision = Literal["float32", "bfloat16"]
OptimizationLevel = Literal["all", "extended", "basic", "none"]

PROVIDER_NAMES: Final[dict[Provider, str]] = {"cpu": "ONNX Runtime's own kernels", "openvino": "OpenVINO"}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How ONNX Runtime runs a graph; the defaults are what a user gets who sets nothing but the threads.

    Attributes:
        threads: Threads inside an operator; operators run one after the other.
        provider: The execution provider that computes: ONNX Runtime's own kernels, or the OpenVINO plugin.
        precision: In which precision OpenVINO computes what is not INT8 (by itself it chooses bfloat16 on CPUs that
            have it). ONNX Runtime's own kernels compute in the graph's types.
        optimization: Graph optimization level.
        arena: Whether buffers come from an arena that keeps its memory between runs.
        spinning: Whether idle threads spin for a moment, which reacts faster, before they sleep.
        offline: Whether the optimized graph is stored and loaded instead of made anew at every start; such a file is
            for this instruction set only.
    """

    threads: int = 1
    provider: Provider = "cpu"
    precision: FloatPrecision = "float32"
    optimization: OptimizationLevel = "all"
    arena: bool = True
    spinning: bool = True
    offline: bool = False

    def describe(self) -> str:
        """Return the provider and everything that is not the default, in words; the threads go without saying.

        >>> EngineOptions(provider="openvino", precision="bfloat16").describe()
        'OpenVINO, bfloat16'
        """
        default = EngineOptions()
        changes = {
            self.precision: self.precision != default.precision,
            f"optimization {self.optimization}": self.optimization != default.optimization,
            "no memory arena": not self.arena,
            "no spinning": not self.spinning,
            "optimized offline": self.offline,
        }
        return ", ".join([PROVIDER_NAMES[self.provider], *(words for words, changed in changes.items() if changed)])

"""Settings of the step `mixed`, and the goals that they state."""

from typing import Annotated, Final, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from compress.model import JsonValue
from compress.steps import StepSettings
from compress.targets import Target

DEFAULT_SECONDS: Final = 180.0
"""The time that a search takes at most where nobody says otherwise."""
CAST_RUNTIMES: Final = ("tensorrt", "tensorrt_rtx", "onnxruntime_gpu")
"""Runtimes that compute every layer in the type that it has in the graph, and are fast in float16."""
FALLBACK_DECIBELS: Final = 20.0
"""What outputs are to keep where there is neither a goal nor a class to agree on."""


class MixedSettings(StepSettings):
    """Settings of the step ``mixed``: what the engine has to keep, and how long the search may take.

    With ``min_speedup`` and no goal of accuracy, the engine is made as accurate as it can be at that speed. Otherwise
    it is made as fast as it can be within all goals that are stated.

    Attributes:
        max_drop: Points of accuracy that may be lost (the metric's own unit where it is no fraction): measured with
            labels where the calibration samples have them, else expected from the original's own shares of classes.
            The policy's where this is not stated and no other goal is.
        min_agreement: Share of samples that must get the same class.
        min_sqnr_db: Least signal-to-noise ratio of the outputs, in dB.
        min_speedup: Least ratio of the original's median latency to the engine's.
        samples: Calibration samples that candidates are compared on, held in memory.
        screened: Of these, how many judge single layers in advance.
        time_budget_seconds: For the whole search; 0 stands for three minutes.
        latency_threads: Threads of the engines while latency is measured.
        latency_batch: Samples a call.
        latency_seconds: For each pair of engines at most.
        keep_float: Layers that stay float whatever the search says, by name.
        float_layers: Exactly these layers are float, by name: nothing is searched, and no goal is looked at. A locked
            run states what the first one found.
        float_type: Of the layers that are float: ``auto`` takes float16 where the runtime takes precision from casts in
            the graph and the target has it (TensorRT), float32 elsewhere.
    """

    max_drop: NonNegativeFloat | None = None
    min_agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    min_sqnr_db: float | None = None
    min_speedup: PositiveFloat | None = None
    samples: PositiveInt = 128
    screened: PositiveInt = 16
    time_budget_seconds: NonNegativeFloat = 0.0
    latency_threads: PositiveInt = 1
    latency_batch: PositiveInt = 1
    latency_seconds: PositiveFloat = 2.0
    keep_float: tuple[str, ...] = ()
    float_layers: tuple[str, ...] | None = None
    float_type: Literal["auto", "float32", "float16"] = "auto"

    @property
    def seconds(self) -> float:
        """The time that there is."""
        return self.time_budget_seconds or DEFAULT_SECONDS

    @property
    def states_accuracy(self) -> bool:
        """Whether any goal of accuracy is stated."""
        return any(goal is not None for goal in (self.max_drop, self.min_agreement, self.min_sqnr_db))

    def halves(self, target: Target) -> bool:
        """Return whether float layers are float16 on a target."""
        if self.float_type != "auto":
            return self.float_type == "float16"
        return target.runtime in CAST_RUNTIMES and "float16" in target.precisions

    def also_depends_on(self, target: Target) -> JsonValue:
        """Return the whole target: its latency decides."""
        return target.model_dump(mode="json")

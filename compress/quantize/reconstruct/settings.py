"""Settings of the step `reconstruct`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from compress.steps import StepSettings


class ReconstructSettings(StepSettings):
    """Settings of the step ``reconstruct``.

    Attributes:
        granularity: What gives the float model's values back: each ``layer`` (AdaRound), or each ``block`` of layers
            that one value closes (BRECQ).
        layers: Layers that a block has at least.
        largest_block: Layers beyond which the layers of a block are learned one by one.
        steps: Of the optimizer, for each block.
        batch: Samples a step.
        learning_rate: Of what says up or down, 0 in the middle.
        rounding_weight: How much being undecided costs at the end, in shares of the error at the start.
        warmup_share: Share of the steps in which it costs nothing.
        learn_ranges: Whether the scales of activations inside a block learn too.
        range_learning_rate: Of their logarithms.
        learn_biases: Whether biases learn too.
        samples: Calibration samples at most, spread over the set.
        held_out_share: Share of the samples that a block is judged by and never learns from.
        memory_megabytes: What the values around one block may take; beyond that it sees fewer samples.
        time_budget_seconds: When learning ends; what is better by then is kept. 0 is no limit.
    """

    granularity: Literal["layer", "block"] = "block"
    layers: PositiveInt = 2
    largest_block: PositiveInt = 12
    steps: PositiveInt = 100
    batch: PositiveInt = 16
    learning_rate: PositiveFloat = 0.05
    rounding_weight: NonNegativeFloat = 1.0
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learn_ranges: bool = True
    range_learning_rate: PositiveFloat = 1e-3
    learn_biases: bool = True
    samples: PositiveInt = 256
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    memory_megabytes: PositiveInt = 512
    time_budget_seconds: NonNegativeFloat = 0.0

"""The layers of a report: what INT8 does at each of them."""

from typing import Literal

from compress.report.base import Count, NotNegative, Number, Record


class Channel(Record):
    """The channel with the largest range: its number, and its range as a multiple of the median channel's."""

    channel: Count
    ratio: NotNegative


class LayerRecord(Record):
    """What INT8 does at one layer, on a few calibration samples; a signal-to-noise ratio is None without any error.

    Attributes:
        sqnr_db: At the layer's output, with this layer alone quantized: its inputs, its weight and its output.
        weight_sqnr_db: With its weight alone quantized; None for a layer without a weight.
        input_sqnr_db: With its inputs alone quantized.
        output_sqnr_db: With its output alone quantized; None where it is not.
        arriving_sqnr_db: With the whole model quantized: the errors of the layers before are in it.
        blame: Which of the three costs most.
        alone_sqnr_db: Of the model's outputs, with this layer alone quantized; None where it was not measured.
        gain_db: What the model's outputs gain with nothing quantized at this layer; None where it was not measured.
        activation_outlier: Of the layer's float output.
        weight_outlier: Of its float weight, over input channels.
    """

    name: str
    op: str
    sqnr_db: Number | None
    weight_sqnr_db: Number | None
    input_sqnr_db: Number | None
    output_sqnr_db: Number | None
    arriving_sqnr_db: Number | None
    blame: Literal["weight", "input", "output"] | None
    alone_sqnr_db: Number | None = None
    gain_db: Number | None = None
    activation_outlier: Channel | None = None
    weight_outlier: Channel | None = None

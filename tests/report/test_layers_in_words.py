from small_reports import cpu_target, report, step

from compress.report.layer_record import Channel, LayerRecord
from compress.report.layers import describe_layers, layer_rows, worst_layers
from compress.report.markdown import render_markdown
from compress.report.record import TargetRecord


def layer(name: str, sqnr: float | None, **other: object) -> LayerRecord:
    fields = {
        "op": "Conv", "sqnr_db": sqnr, "weight_sqnr_db": 20.0, "input_sqnr_db": 30.0, "output_sqnr_db": None,
        "arriving_sqnr_db": 12.0, "blame": "weight",
    }  # fmt: skip
    return LayerRecord(name=name, **{**fields, **other})  # type: ignore[arg-type]


def with_layers(*layers: LayerRecord) -> TargetRecord:
    return cpu_target().model_copy(update={"layers": layers})


def test_layers_measured_by_the_outputs_come_before_those_that_were_not() -> None:
    layers = [
        layer("a", 10.0),
        layer("b", 30.0, alone_sqnr_db=25.0),
        layer("c", 20.0, alone_sqnr_db=15.0),
        layer("d", None),
    ]
    assert [each.name for each in worst_layers(layers, 4)] == ["c", "b", "a", "d"]
    assert len(worst_layers(layers, 2)) == 2


def test_a_layer_is_described_with_what_is_to_blame_and_its_outlier() -> None:
    worst = layer(
        "conv1", 6.0, weight_sqnr_db=6.1, alone_sqnr_db=9.0, gain_db=3.25, weight_outlier=Channel(channel=7, ratio=40.4)
    )
    first, cures = describe_layers([worst], ())
    assert first == (
        "The weight of conv1 (Conv) costs most there: 6.1 dB; input channel 7 of the weight is 40× the median one; "
        "alone in INT8 it takes the model's outputs to 9.0 dB; without INT8 there the outputs change by +3.2 dB."
    )
    assert cures == "Nothing was done about it: the ranges are as calibrated."


def test_an_output_is_described_with_its_channel_and_an_even_one_without() -> None:
    uneven = layer("a", 6.0, blame="output", output_sqnr_db=6.5, activation_outlier=Channel(channel=2, ratio=9.0))
    even = layer("b", 7.0, blame="input", input_sqnr_db=7.5, activation_outlier=Channel(channel=2, ratio=1.5))
    first, second, _ = describe_layers([uneven, even], ())
    assert first == "The output of a (Conv) costs most there: 6.5 dB; channel 2 of the output is 9× the median one."
    assert second == "The input of b (Conv) costs most there: 7.5 dB."


def test_what_was_done_about_it_is_named() -> None:
    quantize = step("quantize").model_copy(update={"settings": {"equalize": True, "bias_correction": "none"}})
    *_, cures = describe_layers([layer("a", 6.0)], (quantize, step("mixed"), step("qat")))
    assert cures == ("Done about it: cross-layer equalization, layers kept in float, quantization-aware training.")


def test_layers_without_any_error_are_not_described() -> None:
    assert describe_layers([layer("a", None)], ()) == ()


def test_the_table_leaves_empty_what_was_not_measured() -> None:
    (row,) = layer_rows([layer("a", 6.04)])
    assert row == ("a (Conv)", "6.0 dB", "20.0 dB", "30.0 dB", "", "", "")


def test_the_report_has_the_layers_below_their_target() -> None:
    text = render_markdown(report(with_layers(layer("a", 6.0, gain_db=-0.25))))
    assert "### Layers of cpu that lose most in INT8\n\n- The weight of a (Conv) costs most there" in text
    assert "| a (Conv) | 6.0 dB | 20.0 dB | 30.0 dB |  |  | -0.2 dB |" in text

import io

from rich.console import Console
from small_reports import cpu_target, report

from compress.report.markdown import render_markdown
from compress.report.record import TargetRecord
from compress.report.speed_record import Attribution, Bandwidth, Bound, FloatLayer, KindShare, LayerBound, Roofline
from compress.report.terminal import print_report

ATTRIBUTION = Attribution(
    finding="1 of 2 compute layers are integer; 60 % of the time goes to float layers.",
    layers=2,
    integer_layers=1,
    kinds=(
        KindShare(kind="float", nodes=1, seconds=0.006, share=0.6),
        KindShare(kind="integer", nodes=1, seconds=0.004, share=0.4),
    ),
    float_layers=(FloatLayer(name="head", op="Gemm", reason="excluded", seconds=0.006, share=0.6),),
)
LAYER = LayerBound(
    name="conv",
    op="Conv",
    precision="int8",
    bound_seconds=0.001,
    limited_by="memory",
    seconds=0.004,
    share_of_bound=0.25,
)
ROOFLINE = Roofline(
    finding="No engine of this graph is faster than 1.00 ms here.",
    operations_per_second={"int8": 3e11},
    bandwidths=(Bandwidth(bytes=1000, bytes_per_second=2e9),),
    source="measured here",
    layers=(LAYER, LAYER.model_copy(update={"name": "unknown", "seconds": None, "share_of_bound": None})),
)


def explained(**changes: object) -> TargetRecord:
    bound = Bound(seconds=0.001, limited_by="memory", share_of_bound=0.1)
    fields = {"attribution": ATTRIBUTION, "roofline": ROOFLINE, "bound": bound, **changes}
    return cpu_target().model_copy(update=fields)


def test_the_markdown_report_says_where_the_time_goes_and_what_holds_it_back() -> None:
    text = render_markdown(report(explained()))
    assert ATTRIBUTION.finding in text
    assert "| float layers | 1 | 6.00 ms | 60 % |" in text
    assert "| head | Gemm | left in float | 6.00 ms | 60 % |" in text
    assert "| conv | Conv | int8 | 4.00 ms | 1.00 ms | memory |" in text
    assert "| unknown |" not in text
    assert "Rates: int8 300 GOPS; memory: 1.00 KB at 2.0 GB/s (measured here)." in text


def test_tables_without_rows_are_left_out() -> None:
    nothing_float = ATTRIBUTION.model_copy(update={"float_layers": ()})
    untimed = ROOFLINE.model_copy(update={"layers": ROOFLINE.layers[1:]})
    text = render_markdown(report(explained(attribution=nothing_float, roofline=untimed)))
    assert "stayed float" not in text
    assert "held back most" not in text
    assert ROOFLINE.finding in text


def test_the_terminal_has_both_sentences() -> None:
    out = io.StringIO()
    print_report(report(explained()), Console(file=out, width=200))
    assert f"note: {ATTRIBUTION.finding}" in out.getvalue()
    assert f"note: {ROOFLINE.finding}" in out.getvalue()

"""A report that fills every section of the page, with what was stored beside it; every number is invented."""

import numpy as np
from pydantic import JsonValue
from small_reports import cpu_target, report

from compress.gate import Policy, RuleOutcome, check_targets
from compress.report.html.page import render_page
from compress.report.layer_record import LayerRecord
from compress.report.measurements import RawMeasurements
from compress.report.record import Report, Step
from compress.report.speed_record import Attribution, Bandwidth, Contest, Contestant, KindShare, LayerBound, Roofline

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def contestant(number: int, *, won: bool = False, exact: bool = False) -> Contestant:
    return Contestant(
        graph="original" if exact else "compressed",
        how=f"engine {number} {NASTY}",
        options={},
        outcome="won" if won else "slower",
        seconds=0.002 + 0.0001 * number,
        ratio=1.0 + 0.05 * number,
        interval=(1.0 + 0.04 * number, 1.0 + 0.06 * number),
        rounds=50,
        sqnr_db=None if exact else 20.0 + number,
    )


def full_report(candidates: int = 4, layers: int = 12) -> tuple[Report, dict[str, RawMeasurements | str]]:
    """Return the report and the measurements of its one target."""
    engines = tuple(contestant(k, won=k == 0, exact=k == candidates - 1) for k in range(candidates))
    target = cpu_target().model_copy(
        update={
            "budget": 0.01,
            "contest": Contest(
                engines=engines, settings=(), absent=(), shipped="engine 0", finding="Engine 0 is the fastest.",
                threads=1, batch=1, seconds=1.0,
            ),
            "attribution": Attribution(
                finding="All layers are integer.", layers=layers, integer_layers=layers, float_layers=(),
                kinds=(KindShare(kind="integer", nodes=layers, seconds=0.001, share=1.0),),
            ),
            "roofline": Roofline(
                finding="Half of the bound.", operations_per_second={"int8": 1e12}, source="measured here",
                bandwidths=(Bandwidth(bytes=1000, bytes_per_second=1e10),),
                layers=tuple(bound(k) for k in range(layers)),
            ),
            "layers": tuple(noise(k) for k in range(layers)),
            "steps": (mixed(),),
        }
    )  # fmt: skip
    return report(target), {"cpu": raw()}


def mixed() -> Step:
    """Return the step `mixed` as it tells of three engines that it tried, one of them exact."""
    tried: list[JsonValue] = [
        {"latency": 0.5 + 0.1 * k, "sqnr_db": 25.0 + 5 * k if k else None, "float_layers": k + 1, "within": k > 0}
        for k in range(3)
    ]
    return Step(
        step="mixed", settings={}, seconds=1.0, metrics={"latency": "measured", "tried": tried, "goal": NASTY},
        input_digest="4" * 64, output_digest="5" * 64,
    )  # fmt: skip


def rules(made: Report, stored: dict[str, RawMeasurements | str]) -> dict[str, tuple[RuleOutcome, ...]]:
    """Return what a policy says of the report."""
    return check_targets(
        made.targets, Policy(max_drop=1.0, max_slice_drop=5.0, max_latency=0.02, max_memory=1000), stored
    )


def bound(number: int) -> LayerBound:
    return LayerBound(
        name=f"block.{number} {NASTY}" if number == 3 else f"block.{number}",
        op="Conv" if number % 2 else "Gemm",
        precision="float32" if number == 5 else "int8",
        bound_seconds=1e-5,
        limited_by="compute",
        seconds=1e-5 * (1 + (7 * number) % 11),
        share_of_bound=1 / (1 + (7 * number) % 11),
    )


def noise(number: int) -> LayerRecord:
    sqnr = 30.0 + (5 * number) % 13
    name = bound(number).name
    return LayerRecord(
        name=name, op="Conv", sqnr_db=sqnr, weight_sqnr_db=sqnr, input_sqnr_db=sqnr, output_sqnr_db=sqnr,
        arriving_sqnr_db=sqnr, blame="weight",
    )  # fmt: skip


def raw() -> RawMeasurements:
    """Return ten samples of three classes: the first is lost, the second gained, the third changed between mistakes."""
    label = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], np.int32)
    before, after = label.copy(), label.copy()
    after[0], before[1], before[2], after[2] = 1, 0, 0, 1
    seconds = np.linspace(0.004, 0.005, 100)
    return RawMeasurements(
        label=label,
        baseline_prediction=before,
        compressed_prediction=after,
        baseline_confidence=np.full(10, 0.9, np.float32),
        compressed_confidence=np.full(10, 0.8, np.float32),
        class_names=np.array([f"cat {NASTY}", "dog", "bird"]),
        baseline_seconds=seconds,
        compressed_seconds=seconds / 2,
        slices={"camera": np.array(["left", "right"] * 5), "text": np.array([f"a long text {NASTY}" * 9] * 10)},
        pictures={0: np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)},
    )


def full_page(candidates: int = 4, layers: int = 12) -> str:
    """Return the page of the full report, its rules too."""
    made, stored = full_report(candidates, layers)
    return render_page(made, stored, rules(made, stored))

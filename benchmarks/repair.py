"""INT8 without training: every way of repairing it, alone and together with the others.

    python examples/fetch.py mobilenetv2 photos
    python benchmarks/repair.py mobilenetv2 [--threads 1]
    python benchmarks/repair.py sentiment --evaluate 500
    python benchmarks/repair.py fashion --only plain all

One line for each set of settings of the step ``quantize``: SQNR and agreement with the float model and accuracy, on
evaluation samples that calibration never saw, in ONNX Runtime's integer kernels; how many times faster than the float
model a batch of one is (both in turn, in one thread); seconds and processor seconds of the whole step.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qat import FILES, Case

from compress.measure.latency import measure_latency
from compress.measure.timings import Limits
from compress.model import Model
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import open_graph

FILES["sentiment"] = "model.safetensors"
PLAIN: dict[str, Any] = {"smooth": False, "equalize": False, "bias_correction": "none"}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "equalization": {**PLAIN, "equalize": True},
    "smoothing": {**PLAIN, "smooth": True},
    "bias correction": {**PLAIN, "bias_correction": "stepwise"},
    "analytic correction": {**PLAIN, "bias_correction": "analytic"},
    "all": {},
    "all, analytic": {"bias_correction": "analytic"},
    "all, min-max": {"observer": "minmax"},
    "all, percentile": {"observer": "percentile"},
    "all, entropy": {"observer": "entropy"},
    "all, compensated": {"rounding": "compensated"},
    "all, auto": {"observer": "auto"},
}


def measure_speed(case: Case, model: Model, seconds: float) -> str:
    """Return how many times faster than the float model a batch of one is."""
    feed = next(iter(case.evaluation.batches(1))).inputs
    with (
        open_graph(case.model.to_bytes(), threads=1) as original,
        open_graph(model.to_bytes(), threads=1) as engine,
    ):
        found = measure_latency(
            lambda: original.run(feed), lambda: engine.run(feed), threads=1, batch=1, limits=Limits(seconds=seconds)
        )
    low, high = found.interval
    return f"{found.speedup:.2f} ({low or 0:.2f}-{high or 0:.2f})"


def chosen(only: list[str] | None, changes: Mapping[str, Any]) -> Iterator[tuple[str, QuantizeSettings]]:
    """Yield name and settings of the lines that are wanted."""
    for name in only or VARIANTS:
        yield name, QuantizeSettings.model_validate({**VARIANTS[name], **changes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", choices=FILES)
    parser.add_argument("--threads", type=int, default=1, help="of the step; latency is always measured with one")
    parser.add_argument("--only", nargs="+", choices=VARIANTS)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the step quantize"
    )
    parser.add_argument("--calibrate", type=int, default=0, help="calibration samples at most; 0 takes all")
    parser.add_argument("--evaluate", type=int, default=0, help="evaluation samples at most; 0 takes all")
    parser.add_argument("--timing-seconds", type=float, default=15.0, help="for each ratio; 0 measures none")
    options = parser.parse_args()
    changes = {key: json.loads(value) for key, value in (each.split("=", 1) for each in options.set)}
    with tempfile.TemporaryDirectory() as folder:
        case = Case(options.example, Path(folder), options.threads)
        case.limit(options.calibrate, options.evaluate)
        print(f"{options.example}: {len(case.calibration)} calibration samples, {len(case.evaluation)} measured")
        print(f"{'':<22}{'SQNR dB':>7}  {'agree %':>8}  {'top-1 %':>8}  {'times faster':<18} seconds (processor)")
        print(f"{'float':<22}{case.measure(case.model)}", flush=True)
        for number, (name, settings) in enumerate(chosen(options.only, changes)):
            # A store of its own: nothing that another line calibrated.
            context = case.context(case.calibration, f"store-{number}")
            start, processor = time.perf_counter(), time.process_time()
            model = quantize_static(case.model, settings, context).model
            seconds, processor = time.perf_counter() - start, time.process_time() - processor
            speed = measure_speed(case, model, options.timing_seconds) if options.timing_seconds else "-"
            print(f"{name:<22}{case.measure(model)}  {speed:<18} {seconds:.0f} ({processor:.0f})", flush=True)


if __name__ == "__main__":
    main()

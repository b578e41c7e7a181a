"""Learned rounding: what the step `reconstruct` makes of a model that `quantize` left.

    python examples/fetch.py mobilenetv2 photos minilm sentiment
    python benchmarks/reconstruct.py [mobilenetv2] [--quantize rounding=compensated] [--set granularity=layer]

The step sees calibration samples without labels; SQNR and agreement with the float model are on evaluation samples, in
ONNX Runtime's integer kernels. Seconds are of each step, with one thread.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from subjects import SUBJECTS, Subject

from compress.measure.fidelity import compare_outputs
from compress.model import Model
from compress.quantize.reconstruct.settings import ReconstructSettings
from compress.quantize.reconstruct.step import reconstruct
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target


def show(name: str, model: Model, seconds: float, subject: Subject) -> None:
    """Print a line."""
    with open_graph(subject.model.to_bytes(), threads=1) as first, open_graph(model.to_bytes(), threads=1) as second:
        found = compare_outputs(first.run, second.run, subject.evaluation.batches(16))
    print(f"{name:<12} {seconds:6.1f} s {found.sqnr_db or 0:6.2f} dB {100 * (found.agreement or 0):6.2f} %", flush=True)


def settings(texts: list[str]) -> dict[str, Any]:
    """Return settings from ``key=value``; values are JSON where they can be."""
    table: dict[str, Any] = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            table[key] = json.loads(value)
        except json.JSONDecodeError:
            table[key] = value
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=SUBJECTS, default="mobilenetv2")
    parser.add_argument("--quantize", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        subject = SUBJECTS[chosen.model](Path(name))
        store = Store(Path(name) / "store")
        context = StepContext(
            load_target("cpu"), subject.calibration, chosen.threads, 0, store, lambda *_: None, subject.model
        )
        start = time.perf_counter()
        model = quantize_static(
            subject.model, QuantizeSettings.model_validate(settings(chosen.quantize)), context
        ).model
        show("quantize", model, time.perf_counter() - start, subject)
        start = time.perf_counter()
        result = reconstruct(model, ReconstructSettings.model_validate(settings(chosen.set)), context)
        show("reconstruct", result.model, time.perf_counter() - start, subject)
        print(json.dumps(dict(result.metrics)))


if __name__ == "__main__":
    main()

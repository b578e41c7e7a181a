"""The fastest engine on this machine: INT8 and float, on every execution provider, against float ONNX Runtime.

    pip install -e '.[openvino]'
    python examples/fetch.py mobilenetv2 photos minilm sentiment
    python benchmarks/fastest.py [mobilenetv2] [resnet50] [minilm] [--threads 1] [--seconds 20]
        [--calibrate 128] [--evaluate 64]

Every engine is timed in turn with the baseline (the float graph on ONNX Runtime's own kernels, same threads), batch 1;
the table has the ratio of medians with its 95 % interval, the SQNR of the outputs to the baseline's, and which share of
the roofline the engine reaches, with peaks measured on this machine in the same process. ResNet-50 has random weights,
so its SQNR says little.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from subjects import SUBJECTS, Subject

from compress.data.subset import take
from compress.measure.fidelity import FidelityMeter
from compress.measure.latency import measure_latency
from compress.measure.peaks import Rates, measure_rates
from compress.measure.roofline import bound_layers, count_work
from compress.measure.timings import Limits
from compress.model import Model
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import Session
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.onnxruntime_variants import list_variants, open_variant
from compress.runtimes.variants import Variants
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target


def quantize(subject: Subject, folder: Path, calibrate: int) -> Model:
    samples = take(subject.calibration, calibrate)
    store = Store(folder / "store")
    context = StepContext(load_target("cpu"), samples, 1, 0, store, lambda *_: None, subject.model)
    return quantize_static(subject.model, QuantizeSettings(), context).model


@dataclass(frozen=True)
class Bench:
    """Graphs as files, ways to run them, and what this machine can do at best."""

    subject: Subject
    folder: Path
    threads: int
    seconds: float
    calibrate: int
    evaluate: int

    @property
    def variants(self) -> Variants:
        """The execution providers that are here."""
        return list_variants(threads=self.threads, providers="all")

    def open(self, graph: Path, way: EngineOptions) -> Session:
        """Return a session of a graph that is run so."""
        return open_variant(graph, way, self.folder)

    def rates(self) -> Rates:
        """Return what this machine can do at best."""
        return measure_rates(self.open, self.variants.options, folder=self.folder)

    def fidelity(self, baseline: Session, engine: Session) -> str:
        """Return how near two engines' outputs are on the evaluation samples."""
        meter = FidelityMeter()
        for batch in take(self.subject.evaluation, self.evaluate).batches(1):
            meter.add(baseline.run(batch.inputs), engine.run(batch.inputs), len(batch))
        found = meter.result()
        sqnr = "equal   " if found.sqnr_db is None else f"{found.sqnr_db:5.1f} dB"
        return sqnr if found.agreement is None else f"{sqnr}  agree {found.agreement:.3f}"

    def line(self, graph: Path, model: Model, way: EngineOptions, rates: Rates) -> str:
        """Return the line of one engine."""
        feed = next(iter(self.subject.evaluation.batches(1))).inputs
        default = self.variants.options[0]
        with self.open(self.folder / "float.onnx", default) as baseline, self.open(graph, way) as engine:
            near = self.fidelity(baseline, engine)
            found = measure_latency(
                lambda: baseline.run(feed),
                lambda: engine.run(feed),
                threads=self.threads,
                batch=1,
                limits=Limits(seconds=self.seconds),
            )
        work = count_work(model, batch=1, sizes={}, floats=way.precision)
        bounded = bound_layers(work, rates, seconds=found.compressed.p50)
        share = "" if bounded is None else f"{100 * (bounded[0].share_of_bound or 0):3.0f} % of the bound"
        low, high = found.interval
        return (
            f"{graph.stem + ' on ' + way.describe():<40} {1e3 * found.compressed.p50:8.2f} ms  {found.speedup:5.2f}x "
            f"({low:.2f} to {high:.2f})  {near}  {share}"
        )


def compare(bench: Bench) -> Iterator[str]:
    """Yield a line for every graph on every execution provider."""
    graphs = {"float": bench.subject.model, "INT8": quantize(bench.subject, bench.folder, bench.calibrate)}
    for name, model in graphs.items():
        (bench.folder / f"{name}.onnx").write_bytes(model.to_bytes())
    rates = bench.rates()
    peaks = ", ".join(f"{name} {rate / 1e12:.3f} TOPS" for name, rate in rates.operations_per_second.items())
    memory = ", ".join(f"{size >> 10} KiB {rate / 1e9:.0f} GB/s" for size, rate in rates.bandwidths)
    yield f"peaks: {peaks}; memory: {memory}"
    yield from (f"absent: {absent.what}: {absent.reason}" for absent in bench.variants.absent)
    for name, model in graphs.items():
        for way in bench.variants.options:
            yield bench.line(bench.folder / f"{name}.onnx", model, way, rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", metavar="MODEL", default=list(SUBJECTS), help=", ".join(SUBJECTS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each engine")
    parser.add_argument("--calibrate", type=int, default=128, help="samples")
    parser.add_argument("--evaluate", type=int, default=64, help="samples that outputs are compared on")
    options = parser.parse_args()
    for name in options.subjects:
        with tempfile.TemporaryDirectory() as folder:
            print(f"# {name}, {options.threads} thread(s), batch 1", flush=True)
            subject = SUBJECTS[name](Path(folder))
            amounts = options.seconds, options.calibrate, options.evaluate
            for line in compare(Bench(subject, Path(folder), options.threads, *amounts)):
                print(line, flush=True)


if __name__ == "__main__":
    main()

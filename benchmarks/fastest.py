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
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.binding import bind_samples
from compress.data.recipes import load_samples
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.data.synthetic import synthesize
from compress.intake import IntakeOptions, take_in
from compress.intake.export import export_module
from compress.intake.simplify import simplify
from compress.measure.fidelity import FidelityMeter
from compress.measure.latency import measure_latency
from compress.measure.peaks import Rates, measure_rates
from compress.measure.roofline import bound_layers, count_work
from compress.measure.timings import Limits
from compress.model import Model, TensorSpec
from compress.project import load_project
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import Session
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.onnxruntime_variants import list_variants, open_variant
from compress.runtimes.variants import Variants
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target

ROOT = Path(__file__).parent.parent
CACHE = Path("~/.cache/edge-compress").expanduser()
TOKENS = 128


@dataclass(frozen=True)
class Subject:
    """A float model, and samples to calibrate it and to compare outputs on."""

    model: Model
    calibration: SampleSet
    evaluation: SampleSet


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride), 1×1 convolutions and the way around them: [N, C, H, W] → [N, 4·width, H/s, W/s]."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()

        def convolve(before: int, after: int, size: int, step: int) -> list[nn.Module]:
            return [nn.Conv2d(before, after, size, step, size // 2, bias=False), nn.BatchNorm2d(after)]

        self.body = nn.Sequential(
            *convolve(channels, width, 1, 1), nn.ReLU(),
            *convolve(width, width, 3, stride), nn.ReLU(),
            *convolve(width, 4 * width, 1, 1),
        )  # fmt: skip
        around = stride != 1 or channels != 4 * width
        self.around = nn.Sequential(*convolve(channels, 4 * width, 1, stride)) if around else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.relu(self.body(x) + self.around(x))


def resnet50() -> nn.Sequential:
    """Return the 50-layer net, image [N, 3, 224, 224] → logits [N, 1000].

    Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition" (2015), table 1, with the
        stride in the 3×3 convolution.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            width = 64 * 2**stage
            layers.append(Bottleneck(channels, width, 2 if block == 0 and stage > 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def make_resnet50(_: Path) -> Subject:
    torch.manual_seed(0)
    model = export(resnet50().eval(), (TensorSpec("image", "float32", ("batch", 3, 224, 224)),))
    return Subject(model, synthesize(model.inputs, 8, seed=1), synthesize(model.inputs, 8, seed=2))


def make_mobilenetv2(_: Path) -> Subject:
    example = ROOT / "examples" / "mobilenetv2"
    project = load_project(example / "model.pth")
    options = IntakeOptions(inputs=project.model.inputs, factory=project.model.factory, search_path=example)
    model = take_in(example / "model.pth", options).model
    assert project.data.calibration is not None
    assert project.data.evaluation is not None
    sets = [load_samples(spec, base=example) for spec in (project.data.calibration, project.data.evaluation)]
    calibration, evaluation = (bind_samples(samples, model.inputs) for samples in sets)
    return Subject(model, calibration, evaluation)


def make_minilm(folder: Path) -> Subject:
    """Return MiniLM's mean token vector for pairs of sentences, 128 tokens; samples are real sentences, joined."""
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("sentiment", ROOT / "examples" / "sentiment" / "network.py")
    assert spec is not None
    assert spec.loader is not None
    sentiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sentiment)
    net = sentiment.SentimentNet(6)
    net.classifier = nn.Identity()
    lacking = net.load_state_dict(load_file(CACHE / "minilm" / "model.safetensors"), strict=False)
    assert not lacking.missing_keys, lacking.missing_keys
    inputs = tuple(TensorSpec(name, "int64", ("batch", TOKENS)) for name in ("input_ids", "attention_mask"))
    model = export(net.eval(), inputs)
    sets = []
    for name, count in (("unlabelled", 256), ("test", 64)):
        path = folder / f"{name}.npz"
        np.savez(path, allow_pickle=False, **join_sentences(CACHE / "sentiment" / f"{name}.npz", count))
        sets.append(bind_samples(load_samples(str(path), base=folder), model.inputs))
    return Subject(model, *sets)


def join_sentences(path: Path, count: int) -> dict[str, np.ndarray]:
    """Return ids and mask [count, 128]: two texts of the file, the second without its first token, then padding."""
    with np.load(path, allow_pickle=False) as stored:
        ids, kept = stored["input_ids"][: 2 * count], stored["attention_mask"][: 2 * count].astype(bool)
    joined, mask = (np.zeros((count, TOKENS), np.int64) for _ in range(2))
    for row in range(count):
        words = np.concatenate([ids[2 * row][kept[2 * row]], ids[2 * row + 1][kept[2 * row + 1]][1:]])[:TOKENS]
        joined[row, : len(words)], mask[row, : len(words)] = words, 1
    return {"input_ids": joined, "attention_mask": mask}


def export(net: nn.Module, inputs: tuple[TensorSpec, ...]) -> Model:
    """Return the graph of a net as the intake leaves it."""
    exported = export_module(net, inputs, load_target("cpu").opset)
    simplify(exported.graph)
    return Model.from_ir(exported.graph)


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


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "mobilenetv2": make_mobilenetv2,
    "resnet50": make_resnet50,
    "minilm": make_minilm,
}


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

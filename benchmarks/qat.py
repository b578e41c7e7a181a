"""INT8 before and after quantization-aware training: fidelity to the float model and accuracy, on samples never seen.

    python examples/fetch.py mobilenetv2 photos
    python benchmarks/qat.py fashion [--set steps=300]
    python benchmarks/qat.py mobilenetv2 [--set time_budget_seconds=1200]
    python benchmarks/qat.py mobilenetv2 --ablation [--set steps=100]

Each model is given as a bare ONNX graph. Training sees the calibration samples only, without labels; the table is
measured on the evaluation samples, with the INT8 graph in ONNX Runtime's integer kernels. The ablation trains with
activations, or weights, left in float, with fewer samples, and with other learning rates.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from compress.data.binding import bind_samples
from compress.data.recipes import load_samples
from compress.data.samples import SampleSet
from compress.data.subset import take
from compress.intake import IntakeOptions, take_in
from compress.measure.fidelity import FidelityMeter
from compress.model import Model
from compress.project import load_project
from compress.quantize.qat.settings import QatSettings
from compress.quantize.qat.step import train_quantized
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = {"fashion": "model.pt", "mobilenetv2": "model.pth"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "fashion": {"steps": 300, "batch": 64},
    "mobilenetv2": {"augment": {"mirror": True, "zoom": 0.4, "contrast": 0.2}},
}
BATCH = 32


class Case:
    """A float model, its samples, and where steps leave what they store."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        example = EXAMPLES / name
        project = load_project(example / FILES[name])
        options = IntakeOptions(inputs=project.model.inputs, factory=project.model.factory, search_path=example)
        bare = folder / "model.onnx"
        bare.write_bytes(take_in(example / FILES[name], options).model.to_bytes())
        self.model = take_in(bare, IntakeOptions()).model
        assert project.data.calibration is not None
        assert project.data.evaluation is not None
        calibration = load_samples(project.data.calibration, base=example)
        self.calibration: SampleSet = bind_samples(calibration, self.model.inputs)
        evaluation = load_samples(project.data.evaluation, base=example)
        self.evaluation: SampleSet = bind_samples(evaluation, self.model.inputs)
        self.threads, self.folder = threads, folder

    def limit(self, calibration: int, evaluation: int) -> None:
        """Use some of the samples only; 0 leaves all."""
        self.calibration = take(self.calibration, calibration or len(self.calibration))
        self.evaluation = take(self.evaluation, evaluation or len(self.evaluation))

    def context(self, samples: SampleSet, store: str = "store") -> StepContext:
        """Return the context of a step that sees some samples."""
        return StepContext(
            load_target("cpu"), samples, self.threads, 0, Store(self.folder / store), lambda *_: None, self.model
        )

    def measure(self, model: Model) -> str:
        """Return SQNR, agreement and accuracy on the evaluation samples, as cells of the table."""
        meter, right, count = FidelityMeter(), 0, 0
        with (
            open_graph(self.model.to_bytes(), threads=self.threads) as original,
            open_graph(model.to_bytes(), threads=self.threads) as engine,
        ):
            for batch in self.evaluation.batches(BATCH):
                wanted, found = original.run(batch.inputs), engine.run(batch.inputs)
                meter.add(wanted, found, len(batch))
                assert batch.labels is not None
                right += int((next(iter(found.values())).argmax(1) == batch.labels).sum())
                count += len(batch)
        fidelity = meter.result()
        sqnr = "  equal" if fidelity.sqnr_db is None else f"{fidelity.sqnr_db:7.2f}"
        return f"{sqnr}  {100 * (fidelity.agreement or 0):8.2f}  {100 * right / count:8.2f}"


def variants(
    model: Model, original: Model, settings: dict[str, Any]
) -> Iterator[tuple[str, Model, dict[str, Any], float]]:
    """Yield name, quantized model, settings, and the share of the samples of every line of the ablation."""
    yield "as it is", model, settings, 1.0
    yield "weights INT8, activations float", without_activations(model), settings, 1.0
    yield "activations INT8, weights float", without_weights(model, original), settings, 1.0
    for kind in ("none", "activations", "weights"):
        yield f"scales learned: {kind}", model, {**settings, "learn_scales": kind}, 1.0
    for share in (0.25, 0.5):
        yield f"{100 * share:.0f} % of the samples", model, settings, share
    yield "no augmentation", model, {**settings, "augment": {}}, 1.0
    for factor in (0.3, 3.0):
        rate = factor * QatSettings.model_validate(settings).learning_rate
        yield f"learning rate {rate:.0e}", model, {**settings, "learning_rate": rate}, 1.0


def without_activations(model: Model) -> Model:
    """Return a quantized model whose activations stay float."""
    graph = model.copy_graph()
    for node in [node for node in graph.graph if node.op_type == "QuantizeLinear"]:
        for use in tuple(node.outputs[0].uses()):
            bypass(graph.graph, use.node, node.inputs[0])
        graph.graph.remove(node, safe=True)
    return Model.from_ir(graph)


def without_weights(model: Model, original: Model) -> Model:
    """Return a quantized model whose weights and biases stay float."""
    graph = model.copy_graph()
    originals = {node.name: node for node in original.graph.graph}
    for node in [node for node in graph.graph if node.op_type == "DequantizeLinear"]:
        if node.inputs[0] is None or not node.inputs[0].is_initializer():
            continue
        use = next(iter(node.outputs[0].uses()))
        constant = originals[use.node.name].inputs[use.idx]
        assert constant is not None
        value = ir.Value(
            name=str(constant.name), const_value=constant.const_value, shape=constant.shape, type=constant.type
        )
        graph.graph.register_initializer(value)
        bypass(graph.graph, node, value)
    return Model.from_ir(graph)


def bypass(graph: ir.Graph, node: ir.Node, value: ir.Value | None) -> None:
    """Let whoever reads a node's output read a value instead, and remove the node."""
    assert value is not None
    output = node.outputs[0]
    if output.is_graph_output():
        value.name, output.name = output.name, f"{output.name}_unused"
    ir.convenience.replace_all_uses_with(output, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def train(
    case: Case, model: Model, settings: Mapping[str, Any], share: float
) -> tuple[Model, float, Mapping[str, Any]]:
    samples = take(case.calibration, round(share * len(case.calibration)))
    start = time.perf_counter()
    result = train_quantized(model, QatSettings.model_validate(settings), case.context(samples))
    return result.model, time.perf_counter() - start, result.metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example", choices=FILES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the step qat")
    parser.add_argument("--ablation", action="store_true")
    options = parser.parse_args()
    changes = {key: json.loads(value) for key, value in (each.split("=", 1) for each in options.set)}
    settings = {**DEFAULTS[options.example], **changes}
    with tempfile.TemporaryDirectory() as folder:
        case = Case(options.example, Path(folder), options.threads)
        quantized = quantize_static(case.model, QuantizeSettings(), case.context(case.calibration)).model
        lines = list(variants(quantized, case.model, settings)) if options.ablation else []
        print(f"{options.example}: {len(case.calibration)} samples to train on, {len(case.evaluation)} to measure on")
        print(f"{'':<34}{'SQNR dB':>7}  {'agree %':>8}  {'top-1 %':>8}  seconds")
        print(f"{'float':<34}{case.measure(case.model)}")
        print(f"{'INT8':<34}{case.measure(quantized)}", flush=True)
        for name, model, chosen, share in lines or [("INT8, trained", quantized, settings, 1.0)]:
            trained, seconds, metrics = train(case, model, chosen, share)
            print(f"{name:<34}{case.measure(trained)}  {seconds:7.0f}", flush=True)
            if not lines:
                print(json.dumps(dict(metrics), indent=1))


if __name__ == "__main__":
    main()

"""An example as an exported float graph with its samples, for the benchmarks of quantizers."""

from dataclasses import dataclass
from pathlib import Path

from compress.data.binding import bind_samples
from compress.data.metrics import Metric, load_metric
from compress.data.recipes import load_samples
from compress.data.samples import SampleSet
from compress.intake import IntakeOptions, take_in
from compress.model import Model
from compress.project import load_project

EXAMPLES = Path(__file__).parent.parent / "examples"
MODELS = {"fashion": "model.pt", "mobilenetv2": "model.pth"}


@dataclass(frozen=True, slots=True)
class Case:
    """The float graph, what it is calibrated on and what it is measured on."""

    model: Model
    calibration: SampleSet
    evaluation: SampleSet
    metric: Metric


def open_case(name: str) -> Case:
    """Return the case of an example; ``python examples/fetch.py mobilenetv2 photos`` brings what MobileNetV2 needs."""
    folder = EXAMPLES / name
    project = load_project(folder / MODELS[name])
    options = IntakeOptions(inputs=project.model.inputs, factory=project.model.factory, search_path=folder)
    model = take_in(folder / MODELS[name], options).model
    calibration, evaluation = project.data.calibration, project.data.evaluation
    assert calibration is not None
    assert evaluation is not None
    return Case(
        model,
        bind_samples(load_samples(calibration, base=folder), model.inputs),
        bind_samples(load_samples(evaluation, base=folder), model.inputs),
        load_metric(project.data.metric, folder),
    )

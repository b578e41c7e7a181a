"""The MobileNetV2 example as an exported float graph with its samples, for the benchmarks of quantizers."""

from dataclasses import dataclass
from pathlib import Path

from compress.data.binding import bind_samples
from compress.data.metrics import Metric, load_metric
from compress.data.recipes import load_samples
from compress.data.samples import SampleSet
from compress.intake import IntakeOptions, take_in
from compress.model import Model
from compress.project import load_project

EXAMPLE = Path(__file__).parent.parent / "examples" / "mobilenetv2"


@dataclass(frozen=True, slots=True)
class Case:
    """The float graph, what it is calibrated on and what it is measured on."""

    model: Model
    calibration: SampleSet
    evaluation: SampleSet
    metric: Metric


def open_mobilenet() -> Case:
    """Return the case; `python examples/fetch.py mobilenetv2 photos` brings its files."""
    path = EXAMPLE / "model.pth"
    project = load_project(path)
    options = IntakeOptions(inputs=project.model.inputs, factory=project.model.factory, search_path=EXAMPLE)
    model = take_in(path, options).model
    calibration, evaluation = project.data.calibration, project.data.evaluation
    assert calibration is not None
    assert evaluation is not None
    return Case(
        model,
        bind_samples(load_samples(calibration, base=EXAMPLE), model.inputs),
        bind_samples(load_samples(evaluation, base=EXAMPLE), model.inputs),
        load_metric(project.data.metric, EXAMPLE),
    )

"""The report as data: schema ``compress.report/1``.

Seconds, bytes and fractions everywhere; points, milliseconds and megabytes are made where a person reads. Infinities
and not-a-numbers are refused: JSON has no word for them. The JSON Schema in ``reports/schema/`` is generated from these
classes (``python -m compress.report.schema``).
"""

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue

from compress.errors import ExitCode
from compress.report.base import ADDED_LATER, Count, Fraction, NotNegative, Number, Positive
from compress.report.base import Record as _Record
from compress.report.layer_record import LayerRecord
from compress.report.speed_record import Attribution, Bound, Contest, Energy, Roofline

SCHEMA: Final = "compress.report/1"

Status = Literal["pass", "fail", "inconclusive", "unmeasured"]
ELSEWHERE: Final = ("emulated:", "ssh://", "board:")
"""How ``measured_on`` starts where it was not this machine."""

OpenInterval = tuple[Number, Number | None]
PositiveInterval = tuple[Positive, Positive | None]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Tool(_Record):
    """This project's version and those of the packages that had a part in the run."""

    version: str
    packages: dict[str, str]


class Fidelity(_Record):
    """How near two graphs are on the same samples.

    Attributes:
        sqnr_db: 10·log10(signal power / error power) over all outputs, in dB; None when the error is zero.
        agreement: Share of samples with the same arg-max, for outputs [batch, classes]; otherwise None.
        max_abs_error: Largest absolute difference of any output element.
        synthetic: Whether the samples were made up.
    """

    sqnr_db: Number | None
    agreement: Fraction | None
    max_abs_error: NotNegative
    samples: Count
    synthetic: bool = False


class Source(_Record):
    """The model file that came in; ``export_check`` compares the exported graph with the source model itself."""

    path: str
    sha256: Sha256
    kind: str
    parameters: Count
    macs: Count
    bytes: Count
    export_check: Fidelity | None = None
    notes: tuple[str, ...] = ()


class DataSet(_Record):
    """A set of samples; ``overlap_with_calibration`` counts evaluation samples that calibration saw too."""

    name: str
    digest: Sha256
    samples: Count
    synthetic: bool = False
    overlap_with_calibration: Count | None = None


class Data(_Record):
    """The samples of the run."""

    calibration: DataSet | None
    evaluation: DataSet | None
    notes: tuple[str, ...] = ()


class Step(_Record):
    """One step of the pipeline."""

    step: str
    settings: dict[str, JsonValue]
    seconds: NotNegative
    metrics: dict[str, JsonValue]
    input_digest: Sha256
    output_digest: Sha256


class Machine(_Record):
    """Facts about the machine that measured."""

    measured_on: str | None
    cpu: str
    isa: str | None
    cores: Count
    memory_bytes: Count
    system: str
    governor: str | None
    load: NotNegative | None
    steal: Fraction | None
    temperature_celsius: Number | None
    virtual: bool | None


class EngineFile(_Record):
    """A file beside the report, of the engine or of measurements; the path is relative to the report."""

    path: str
    sha256: Sha256
    bytes: Count


class EngineRecord(_Record):
    """The engine: its files, and how many compute nodes work in each precision."""

    kind: Literal["onnx", "tensorrt", "build-kit"]
    files: tuple[EngineFile, ...]
    nodes: dict[str, Count]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()


class Accuracy(_Record):
    """The paired accuracy difference.

    Attributes:
        drop: What was lost, in the metric's own unit; positive is worse, whatever the metric's direction.
        interval: Confidence interval of the drop, at the level ``confidence``.
        p_value: Probability of so unequal a split of the changed samples if both were equally good (McNemar), or None
            where the metric does not count samples.
        method: How the interval was made, in words.
        measured_on: ``engine``, or ``simulated``: the engine's ONNX graph on this CPU, the engine cannot run here.
        higher_is_better: Whether a larger number is a better one; None in reports older than this field.
    """

    metric: str
    unit: Literal["fraction", "value"]
    baseline: Number
    compressed: Number
    drop: Number
    interval: tuple[Number, Number]
    confidence: Annotated[float, Field(ge=0.01, lt=1)]
    p_value: Fraction | None = None
    samples: Annotated[Count, Field(ge=1)]
    method: str
    measured_on: Literal["engine", "simulated"]
    higher_is_better: Annotated[bool | None, ADDED_LATER] = None


class Percentiles(_Record):
    """Latency of one engine in seconds; each interval is a 95 % confidence interval of the value before it.

    An interval's upper end is None where there were too few runs to bound that percentile from above.
    """

    p50: Positive
    p50_interval: PositiveInterval
    p90: Positive
    p90_interval: PositiveInterval
    p99: Positive
    p99_interval: PositiveInterval
    runs: Count


class Latency(_Record):
    """Interleaved latency of the original and of the compressed engine.

    ``speedup`` is the ratio of the medians, original to compressed: 2 is twice as fast.
    """

    baseline: Percentiles
    compressed: Percentiles
    speedup: Positive
    interval: tuple[Positive, Positive]
    threads: Count
    batch: Count
    notes: tuple[str, ...] = ()


class Size(_Record):
    """Bytes of the engine files."""

    baseline: Count
    compressed: Count


class PeakMemory(_Record):
    """Peak resident memory in bytes.

    Attributes:
        baseline_peak: By how much loading the original and calling it raised the peak of a process of its own.
        compressed_peak: The same of the engine.
        method: How both were measured.
    """

    baseline_peak: Count
    compressed_peak: Count
    method: Annotated[str, ADDED_LATER] = ""


class VerdictRecord(_Record):
    """What the gate says; each reason is a sentence."""

    status: Status
    exit_code: ExitCode
    reasons: tuple[str, ...]


class Measurements(_Record):
    """Everything about one target that the gate judges.

    Attributes:
        error: Why there is no engine: what the compiler refused, or what is missing here; None where there is one.
        measurements: The file of every sample's outcome and every round's seconds
            (:mod:`compress.report.measurements`); None where nothing of either was measured.
    """

    target: str
    runtime: str
    dialect: str
    device: Machine
    engine: EngineRecord | None
    steps: tuple[Step, ...]
    accuracy: Accuracy | None
    fidelity: Fidelity | None
    latency: Latency | None
    size: Size | None
    memory: PeakMemory | None
    bound: Bound | None
    contest: Contest | None = None
    attribution: Attribution | None = None
    roofline: Roofline | None = None
    error: str | None = None
    measurements: Annotated[EngineFile | None, ADDED_LATER] = None
    energy: Annotated[Energy | None, ADDED_LATER] = None

    @property
    def accuracy_place(self) -> str:
        """Where the accuracy comes from, in words: ``"measured on the engine on emulated:haswell"``."""
        if self.accuracy is not None and self.accuracy.measured_on == "simulated":
            return "simulated on the CPU"
        device = self.device.measured_on or ""
        return "measured on the engine" + (f" on {device}" if device.startswith(ELSEWHERE) else "")


class Attempt(_Record):
    """One of several attempts of a recipe: its steps, what the gate said, and whether it is the one that was kept."""

    steps: tuple[str, ...]
    status: Status
    drop: Number | None
    sqnr_db: Number | None
    kept: bool


class TargetRecord(Measurements):
    """Everything about one target, and what the gate says of it.

    Attributes:
        attempts: Empty where there was one only.
        layers: Of the engine, those that are INT8; empty where nothing is, or where it could not be diagnosed.
        budget: What of its accuracy it was allowed to lose, in the metric's own unit; None where nobody said.
    """

    verdict: VerdictRecord
    attempts: tuple[Attempt, ...] = ()
    layers: tuple[LayerRecord, ...] = ()
    budget: Annotated[Number | None, ADDED_LATER] = None


class Report(_Record):
    """A whole run; ``command`` is what a user types to get it again."""

    schema_: Annotated[Literal["compress.report/1"], Field(alias="schema")] = SCHEMA
    created: str
    command: str | None = None
    tool: Tool
    seed: Count
    source: Source
    data: Data
    steps: tuple[Step, ...]
    targets: tuple[TargetRecord, ...]
    verdict: VerdictRecord

    def to_json(self) -> str:
        """Return the content of ``report.json``."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

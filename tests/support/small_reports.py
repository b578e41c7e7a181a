"""Hand-made reports: every number in them is invented, and small enough to check by eye."""

from compress.errors import ExitCode
from compress.report.record import (
    Accuracy,
    Data,
    DataSet,
    EngineFile,
    EngineRecord,
    Fidelity,
    Latency,
    Machine,
    Measurements,
    OpenInterval,
    Percentiles,
    Report,
    Size,
    Source,
    Step,
    TargetRecord,
    Tool,
    VerdictRecord,
)

PASSED = VerdictRecord(status="pass", exit_code=ExitCode(0), reasons=("All is well.",))


def accuracy(
    drop: float = 0.003,
    interval: tuple[float, float] = (0.001, 0.005),
    *,
    simulated: bool = False,
    metric: str = "top1",
    fraction: bool = True,
    samples: int = 10_000,
) -> Accuracy:
    return Accuracy(
        metric=metric,
        unit="fraction" if fraction else "value",
        baseline=0.9231,
        compressed=0.9231 - drop,
        drop=drop,
        interval=interval,
        confidence=0.95,
        p_value=0.0123,
        samples=samples,
        method="Newcombe's paired score interval (method 10)",
        measured_on="simulated" if simulated else "engine",
    )


def percentiles(p99: float, interval: OpenInterval, runs: int = 400) -> Percentiles:
    half = p99 / 2
    return Percentiles(
        p50=half,
        p50_interval=(half * 0.99, half * 1.01),
        p90=p99 * 0.9,
        p90_interval=(p99 * 0.89, p99 * 0.91),
        p99=p99,
        p99_interval=interval,
        runs=runs,
    )


def latency(
    *,
    p99: float = 0.004,
    p99_interval: OpenInterval = (0.0038, 0.0042),
    speedup: float = 2.0,
    interval: tuple[float, float] = (1.95, 2.05),
    notes: tuple[str, ...] = (),
) -> Latency:
    compressed = percentiles(p99, p99_interval)
    baseline = percentiles(p99 * speedup, (p99 * speedup * 0.9, p99 * speedup * 1.1))
    return Latency(
        baseline=baseline, compressed=compressed, speedup=speedup, interval=interval, threads=1, batch=1, notes=notes
    )


def machine(measured_on: str | None = "this machine") -> Machine:
    return Machine(
        measured_on=measured_on,
        cpu="Imaginary CPU",
        isa="x86-vnni",
        cores=2,
        memory_bytes=8_000_000_000,
        system="Linux 6.1, Python 3.11.7",
        governor="performance",
        load=0.4,
        steal=0.0,
        temperature_celsius=41.0,
        virtual=True,
    )


def engine(*notes: str) -> EngineRecord:
    return EngineRecord(
        kind="onnx",
        files=(EngineFile(path="engine/cpu/model.onnx", sha256="ab" * 32, bytes=312_000),),
        nodes={"int8": 23, "float16": 0, "float32": 2},
        versions={"onnxruntime": "1.31.1"},
        notes=notes,
    )


def measurements(
    *,
    accuracy_record: Accuracy | None = None,
    latency_record: Latency | None = None,
    size: Size | None = None,
    engine_record: EngineRecord | None = None,
    error: str | None = None,
) -> Measurements:
    return Measurements(
        target="cpu",
        runtime="onnxruntime",
        dialect="u8s8",
        device=machine(),
        engine=engine_record,
        steps=(),
        accuracy=accuracy_record,
        fidelity=None,
        latency=latency_record,
        size=size,
        memory=None,
        bound=None,
        error=error,
    )


def cpu_target() -> TargetRecord:
    return TargetRecord(
        target="cpu",
        runtime="onnxruntime",
        dialect="u8s8",
        device=machine(),
        engine=engine(),
        steps=(step("quantize"),),
        accuracy=accuracy(),
        fidelity=Fidelity(sqnr_db=24.12, agreement=0.972, max_abs_error=0.51, samples=10_000),
        latency=latency(notes=("The ratio is known to 5.0% only.",)),
        size=Size(baseline=1_200_000, compressed=312_000),
        memory=None,
        bound=None,
        verdict=PASSED,
    )


def jetson_target() -> TargetRecord:
    return TargetRecord(
        target="jetson-orin-nano",
        runtime="tensorrt",
        dialect="s8s8-symmetric",
        device=machine(None),
        engine=engine("TensorRT-RTX compiled it for sm86.").model_copy(update={"kind": "build-kit"}),
        steps=(),
        accuracy=accuracy(simulated=True),
        fidelity=None,
        latency=None,
        size=Size(baseline=1_200_000, compressed=330_000),
        memory=None,
        bound=None,
        verdict=PASSED,
    )


def unbuilt_target() -> TargetRecord:
    return TargetRecord(
        target="rtx-ada",
        runtime="tensorrt_rtx",
        dialect="s8s8-symmetric",
        device=machine(None),
        engine=None,
        steps=(),
        accuracy=None,
        fidelity=None,
        latency=None,
        size=None,
        memory=None,
        bound=None,
        error="TensorRT-RTX is not installed",
        verdict=VerdictRecord(status="fail", exit_code=ExitCode(20), reasons=("There is no engine: not installed.",)),
    )


def step(name: str) -> Step:
    return Step(
        step=name,
        settings={"observer": "mse", "percentile": None},
        seconds=1.234,
        metrics={"sqnr_db": 24.123456},
        input_digest="0" * 64,
        output_digest="1" * 64,
    )


def report(*targets: TargetRecord, verdict: VerdictRecord = PASSED) -> Report:
    return Report(
        created="2026-01-02T03:04:05Z",
        command="compress run model.pt --target cpu --seed 0",
        tool=Tool(version="0.1.0", packages={"onnxruntime": "1.31.1", "numpy": "2.4.6"}),
        seed=0,
        source=Source(
            path="model.pt",
            sha256="cd" * 32,
            kind="torch.export archive",
            parameters=312_345,
            macs=12_345_678,
            bytes=1_250_000,
            export_check=Fidelity(sqnr_db=120.5, agreement=1.0, max_abs_error=1e-6, samples=16),
            notes=("Batch normalization is folded.",),
        ),
        data=Data(
            calibration=DataSet(name="fashion-mnist/calibration", digest="2" * 64, samples=1024),
            evaluation=DataSet(name="fashion-mnist/test", digest="3" * 64, samples=10_000, overlap_with_calibration=0),
        ),
        steps=(step("export"),),
        targets=targets or (cpu_target(), jetson_target()),
        verdict=verdict,
    )

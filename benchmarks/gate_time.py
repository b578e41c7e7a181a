"""How long `compress gate` takes as a process of its own, from the interpreter's start to the exit code.

    python benchmarks/gate_time.py [--repeat 9]

The report is that of `reports/reference/fashion` with made-up outcomes of 50,000 samples, 1,000 classes, two columns of
slices and 2,000 rounds beside it. Each line is the median (and the fastest and the slowest) of some calls, and the
median of the CPU time, which other programs on the machine do not stretch.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from compress.report.json_file import read_report, write_report
from compress.report.measurements import RawMeasurements, write_measurements

REPORT = Path(__file__).parent.parent / "reports" / "reference" / "fashion"
SAMPLES, CLASSES, ROUNDS = 50_000, 1_000, 2_000
FLAGS: dict[str, tuple[str, ...]] = {
    "default policy": (),
    "limits on the summary": ("--preset", "mlperf-99", "--max-drop", "1", "--max-latency", "9ms", "--max-size", "1MB"),
    "classes, slices, flips": ("--max-class-drop", "20", "--max-slice-drop", "2", "--max-flip-rate", "5"),
    "calibration": ("--max-calibration-error-change", "1"),
    "99 % confidence": ("--confidence", "0.99", "--max-p99", "9ms", "--min-speedup", "1.1"),
    "against a baseline": ("--baseline", "REPORT"),
}


def outcomes() -> RawMeasurements:
    """Return made-up outcomes: 80 % are right, one of a hundred changes."""
    random = np.random.default_rng(0)
    label = random.integers(0, CLASSES, SAMPLES).astype(np.int32)
    before = np.where(random.random(SAMPLES) < 0.8, label, 0).astype(np.int32)
    after = np.where(random.random(SAMPLES) < 0.99, before, label).astype(np.int32)
    confidence = random.uniform(0.5, 1.0, SAMPLES).astype(np.float32)
    seconds = random.gamma(50.0, 2e-5, (2, ROUNDS))
    return RawMeasurements(
        label=label,
        baseline_score=(before == label).astype(np.float32),
        compressed_score=(after == label).astype(np.float32),
        baseline_prediction=before,
        compressed_prediction=after,
        baseline_confidence=confidence,
        compressed_confidence=confidence,
        slices={name: random.choice(["a", "b", "c", "d"], SAMPLES) for name in ("camera", "weather")},
        baseline_seconds=seconds[0],
        compressed_seconds=seconds[1],
    )


def prepare(folder: Path) -> None:
    """Write the report and what lies beside it."""
    report, raw = read_report(REPORT), outcomes()
    (folder / "measurements").mkdir()
    targets = []
    for target in report.targets:
        name = f"measurements/{target.target}.npz"
        targets.append(target.model_copy(update={"measurements": write_measurements(raw, folder / name, name)}))
    write_report(report.model_copy(update={"targets": tuple(targets)}), folder / "report.json")


def time_call(folder: Path, flags: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds of one call, by the clock and of CPU time.

    Raises:
        RuntimeError: The flags or the report are wrong.
    """
    words = [str(folder) if flag == "REPORT" else flag for flag in flags]
    start, used = time.perf_counter(), cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "compress", "gate", str(folder), *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode in (1, 2):
        raise RuntimeError(done.stderr)
    return seconds, cpu_seconds() - used


def cpu_seconds() -> float:
    """Return the CPU time of all calls so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        print("| policy | median | fastest | slowest | CPU time |\n|---|---|---|---|---|")
        for policy, flags in FLAGS.items():
            clock, used = (
                sorted(column) for column in zip(*(time_call(folder, flags) for _ in range(repeat)), strict=True)
            )
            cells = (clock[repeat // 2], clock[0], clock[-1], used[repeat // 2])
            print(f"| {policy} | {' | '.join(f'{cell:.2f} s' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()

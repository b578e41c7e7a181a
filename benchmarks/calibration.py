"""Time and peak memory of calibrating and quantizing MobileNetV2 with 128 photos of 224x224, for every observer.

    python examples/fetch.py mobilenetv2 photos
    python benchmarks/calibration.py [--samples 128 2048] [--threads 2]

Each observer runs in a process of its own, which loads the exported float graph (so PyTorch is not in the figures).
Seconds are of reading the photos, one pass of the model, counting, choosing the ranges and writing Q/DQ. Memory is the
process's peak resident set; what the imports alone take is printed beside it. Seconds of the processor are all threads'
together: they do not grow with what else the machine does. Past the last photo the photos come again, which memory does
not tell apart from others.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.data.samples import Batch, SampleSet

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "mobilenetv2"
OBSERVERS = ("minmax", "percentile", "mse", "entropy")
MEGABYTE = 1e6


def export(out: Path) -> None:
    from compress.intake import IntakeOptions, take_in
    from compress.project import load_project

    project = load_project(EXAMPLE / "model.pth")
    options = IntakeOptions(inputs=project.model.inputs, factory=project.model.factory, search_path=EXAMPLE)
    out.write_bytes(take_in(EXAMPLE / "model.pth", options).model.to_bytes())


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def calibrate(graph: Path, observer: str, samples: int, threads: int) -> dict[str, float]:
    import onnxruntime  # noqa: F401 - counted among the imports

    from compress.data.binding import bind_samples
    from compress.data.recipes import load_samples
    from compress.model import Model
    from compress.project import load_project
    from compress.quantize.static import QuantizeSettings, quantize_static
    from compress.steps import StepContext
    from compress.store import Store
    from compress.targets import load_target

    model = Model.from_bytes(graph.read_bytes())
    calibration = load_project(EXAMPLE / "model.pth").data.calibration
    assert calibration is not None
    photos = repeat(bind_samples(load_samples(calibration, base=EXAMPLE), model.inputs), samples)
    imports = peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        context = StepContext(load_target("cpu"), photos, threads, 0, Store(Path(folder)), lambda *_: None, model)
        settings = QuantizeSettings(observer=observer, equalize=False, bias_correction="none")  # type: ignore[arg-type]
        start, processor = time.perf_counter(), time.process_time()
        quantize_static(model, settings, context)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {"seconds": seconds, "processor": processor, "peak": peak_bytes(), "imports": imports}


def repeat(photos: "SampleSet", count: int) -> "SampleSet":
    """Return ``count`` samples: some of the photos, or the photos over and over."""
    from compress.data.subset import take

    return take(photos, count) if count <= len(photos) else Repeated(photos, count)


@dataclass(frozen=True)
class Repeated:
    """Samples of a set in turn, over and over, until there are ``count``."""

    samples: "SampleSet"
    count: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.samples, name)

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int) -> "Iterator[Batch]":
        """Yield batches of ``size`` at most."""
        left = self.count
        while left:
            for batch in self.samples.batches(size):
                kept = min(left, len(batch))
                left -= kept
                yield batch if kept == len(batch) else next(self.samples.batches(kept))
                if not left:
                    return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[128])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=2, metavar=("GRAPH", "OBSERVER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(calibrate(Path(options.child[0]), options.child[1], options.samples[0], options.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "float.onnx"
        # In a process of its own: a child's peak memory starts at its parent's.
        exporting = f"import runpy; runpy.run_path({__file__!r})['export'](__import__('pathlib').Path({str(graph)!r}))"
        subprocess.run([sys.executable, "-c", exporting], check=True)
        for samples in options.samples:
            print(f"{samples} photos, {options.threads} threads")
            for observer in OBSERVERS:
                command = [sys.executable, __file__, "--samples", str(samples), "--threads", str(options.threads)]
                command += ["--child", str(graph), observer]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout)
                print(
                    f"{observer:<11} {found['seconds']:5.2f} s (processor {found['processor']:5.2f} s)"
                    f"  peak {found['peak'] / MEGABYTE:6.0f} MB"
                    f"  (imports and model {found['imports'] / MEGABYTE:.0f} MB)",
                    flush=True,
                )


if __name__ == "__main__":
    main()

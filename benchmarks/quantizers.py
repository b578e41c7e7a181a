"""Quantizers side by side: the native one, ONNX Runtime's, neural-compressor's and NNCF's, on MobileNetV2.

    python examples/fetch.py mobilenetv2 photos
    python benchmarks/quantizers.py [--only native nncf] [--threads 1] [--seconds 8]

All get the same trained weights and the same 128 photos without labels, and all results run in this environment's ONNX
Runtime: top-1, agreement and SQNR against the float model on the example's 118 evaluation photos, and the speed as the
ratio of p50 to the float engine's, timed in turn. Each quantizer works in a process of its own; seconds and peak memory
(resident set) are that process's, from the calibration photos in memory to the graph on disk, imports apart.

The first three are the steps that ``--quantizer`` chooses (neural-compressor needs the extra ``inc``); NNCF gets an
environment of its own, made once, in the cache folder (pip fetches some hundred MB).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from quantizer_cases import Case

ROOT = Path(__file__).parent.parent
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "nncf": ("nncf==3.4.0", "onnx", "onnxruntime==1.31.1"),
}
"""What is installed into the environment of each quantizer that is none of this project's."""

Photos = np.ndarray[Any, np.dtype[np.float32]]
BATCH = 8


def native(graph: Path, photos: Photos, out: Path) -> None:
    run_step("native", graph, photos, out)


def onnxruntime(graph: Path, photos: Photos, out: Path) -> None:
    run_step("onnxruntime", graph, photos, out)


def run_step(quantizer: str, graph: Path, photos: Photos, out: Path) -> None:
    """Run the step that ``compress run --recipe int8 --quantizer …`` runs, for this machine's CPU."""
    from compress.data.binding import bind_samples
    from compress.data.recipes import load_samples
    from compress.model import Model
    from compress.recipe import load_recipe
    from compress.steps import StepContext
    from compress.store import Store
    from compress.targets import load_target

    model = Model.from_bytes(graph.read_bytes())
    step = load_recipe("int8").quantized_by(quantizer).attempts[0][0]
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "photos.npz", **{model.inputs[0].name: photos})  # type: ignore[arg-type] # as a user's
        samples = bind_samples(load_samples("photos.npz", base=Path(folder)), model.inputs)
        context = StepContext(load_target("cpu"), samples, 1, 0, Store(Path(folder)), lambda *_: None, model)
        out.write_bytes(step.function(model, step.settings, context).model.to_bytes())


def neural_compressor(graph: Path, photos: Photos, out: Path) -> None:
    run_step("neural-compressor", graph, photos, out)


def nncf(graph: Path, photos: Photos, out: Path) -> None:
    import nncf as tool
    import onnx

    model = onnx.load(graph)
    name = model.graph.input[0].name
    data = tool.Dataset([{name: photos[index : index + 1]} for index in range(len(photos))])
    onnx.save(tool.quantize(model, data, subset_size=len(photos)), str(out))


QUANTIZERS: Mapping[str, Callable[[Path, Photos, Path], None]] = {
    "native": native,
    "onnxruntime": onnxruntime,
    "neural-compressor": neural_compressor,
    "nncf": nncf,
}


def make_environment(name: str) -> str:
    """Return the interpreter of a quantizer's environment, made where there is none."""
    from compress.data.cache import cache_folder

    if name not in PACKAGES:
        return sys.executable
    folder = cache_folder() / "quantizers" / name
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"{name}: installing {' '.join(PACKAGES[name])} into {folder.parent.name}/{name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        (folder / "ready").touch()
    return str(python)


def work(name: str, folder: Path) -> None:
    """Quantize in this process and print what it took."""
    import importlib

    photos = np.load(folder / "photos.npy")
    for module in ("onnxruntime", "neural_compressor.torch.quantization", "nncf"):
        if module.split(".")[0] == name.replace("-", "_"):
            importlib.import_module(module)
    start = time.perf_counter(), time.process_time()
    QUANTIZERS[name](folder / "float.onnx", photos, folder / f"{name}.onnx")
    took = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (folder / f"{name}.json").write_text(json.dumps({"seconds": took[0], "processor": took[1], "peak": peak}))


def evaluate(case: "Case", engine: Path, threads: int, seconds: float) -> str:
    """Return top-1, agreement, SQNR and speed of an engine as a row of a table."""
    from compress.measure.accuracy import measure_accuracy
    from compress.measure.latency import measure_latency
    from compress.measure.timings import Limits
    from compress.runtimes import open_graph

    with open_graph(case.model.to_bytes(), threads=threads) as first, open_graph(engine, threads=threads) as second:
        found, fidelity = measure_accuracy(
            first, second, case.evaluation, case.metric, batch=8, measured_on="engine", seed=0
        )
        feed = next(iter(case.evaluation.batches(1))).inputs
        latency = measure_latency(
            lambda: first.run(feed), lambda: second.run(feed), threads=threads, batch=1, limits=Limits(seconds=seconds)
        )
    assert found is not None
    low, high = latency.interval
    agreement = fidelity.agreement or 0.0
    return (
        f"{100 * found.compressed:.2f} % | {100 * agreement:.2f} % | {fidelity.sqnr_db:.2f} dB | "
        f"{latency.speedup:.2f}x ({low:.2f} to {high:.2f}) | {engine.stat().st_size / 1e6:.1f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(QUANTIZERS), default=tuple(QUANTIZERS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="of timing, for each quantizer, at most")
    parser.add_argument("--work", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], Path(options.work[1]))
        return
    from quantizer_cases import open_case

    case = open_case("mobilenetv2")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "float.onnx").write_bytes(case.model.to_bytes())
        batch = next(iter(case.calibration.batches(len(case.calibration))))
        np.save(folder / "photos.npy", next(iter(batch.inputs.values())))
        print("| quantizer | top-1 | agreement | SQNR | speed | size | seconds (of processor) | peak memory |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
        for name in options.only:
            command = [make_environment(name), __file__, "--work", name, str(folder)]
            done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(f"| {name} | failed: {(done.stderr.strip().splitlines() or ['?'])[-1]} |", flush=True)
                continue
            took = json.loads((folder / f"{name}.json").read_text())
            row = evaluate(case, folder / f"{name}.onnx", options.threads, options.seconds)
            print(
                f"| {name} | {row} | {took['seconds']:.1f} ({took['processor']:.1f}) | {took['peak'] / 1e6:.0f} MB |",
                flush=True,
            )


if __name__ == "__main__":
    main()

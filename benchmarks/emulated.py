"""What the wrong INT8 dialect costs on a CPU without VNNI: engines on an emulated Haswell and Cortex-A76.

    apt-get install qemu-user-static
    python -m compress.devices.prepare
    python examples/fetch.py mobilenetv2 photos
    python benchmarks/emulated.py [fashion | mobilenetv2] [--samples 16]

Each engine is calibrated on the example's calibration samples and runs on some of its evaluation samples, evenly
picked. SQNR and agreement are against the float model on this machine: on the emulated CPU, and of the same graph
computed as it is written. Seconds are of the emulation, for one sample, without the start.
"""

import argparse
import tempfile
import time
from pathlib import Path

from quantizer_cases import MODELS, open_case

from compress.data.subset import take
from compress.devices.cpus import CPUS
from compress.devices.session import open_emulated
from compress.measure.fidelity import FidelityMeter
from compress.quantize.static import QuantizeSettings, quantize_static
from compress.report.rows import describe_fidelity
from compress.runtimes import open_graph
from compress.steps import StepContext
from compress.store import Store
from compress.targets import load_target

PAIRS = (
    ("x86-vnni", "haswell"),
    ("x86-avx2", "haswell"),
    ("raspberry-pi-5", "cortex-a76"),
)
"""A target, whose dialect the engine has, and the CPU that it runs on; the first is the wrong one for its CPU."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=tuple(MODELS), default="fashion")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the calibration")
    options = parser.parse_args()
    case = open_case(options.what)
    samples = take(case.evaluation, options.samples)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        for name, cpu in PAIRS:
            target = load_target(name)
            context = StepContext(
                target, case.calibration, options.threads, 0, store, lambda *_: None, case.model, case.metric
            )
            engine = Path(folder) / f"{name}.onnx"
            engine.write_bytes(quantize_static(case.model, QuantizeSettings(), context).model.to_bytes())
            emulated, written, seconds = FidelityMeter(), FidelityMeter(), 0.0
            with (
                open_graph(case.model.to_bytes(), threads=options.threads) as original,
                open_graph(engine, threads=options.threads, simulate=True) as graph,
                open_emulated(CPUS[cpu], engine) as there,
            ):
                for batch in samples.batches(1):
                    exact = original.run(batch.inputs)
                    start = time.perf_counter()
                    outputs = there.run(batch.inputs)
                    seconds += time.perf_counter() - start
                    emulated.add(exact, outputs, 1)
                    written.add(exact, graph.run(batch.inputs), 1)
            print(
                f"{name:<15} {target.dialect:<10} on {cpu:<11} {describe_fidelity(emulated.result())}; as written "
                f"{describe_fidelity(written.result())}; {len(samples)} samples, {seconds / len(samples):.2f} s each",
                flush=True,
            )


if __name__ == "__main__":
    main()

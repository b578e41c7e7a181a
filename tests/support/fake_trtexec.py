"""A `trtexec` for tests: it takes the same flags, writes the same files and prints in the format of TensorRT 10.3."""

from pathlib import Path

_SCRIPT = r"""#!{python}
import json, os, sys
arguments = dict(a.lstrip("-").partition("=")[::2] for a in sys.argv[1:])
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
def say(level, text):
    print("[11/21/2026-10:00:00] [%s] %s" % (level, text))
if "help" in arguments:
    print("  --fp16                             Enable fp16 precision, in addition to fp32" if {weak} else "")
    print("  --stronglyTyped                    Create a strongly typed network." if {typed} else "")
    sys.exit(0)
print("&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec " + " ".join(sys.argv[1:]))
if "onnx" in arguments:
    if {refuses}:
        say("E", "Error[4]: ITensor::getDimensions: Error Code 4: Internal Error (node_of_onnx: no kernel)")
        say("E", "Engine set up failed")
        print("&&&& FAILED TensorRT.trtexec [TensorRT v{version}]")
        sys.exit(1)
    if {weak} and "useDLACore" in arguments and "stronglyTyped" in arguments:
        # For the DLA it sets the builder's FP16 flag itself, which is refused for a strongly typed network.
        say("E", "IBuilder::buildSerializedNetwork: Error Code 3: API Usage Error (Parameter check failed, condition: "
            "!config.getFlag(BuilderFlag::kFP16). )")
        sys.exit(1)
    with open(arguments["saveEngine"], "wb") as engine:
        engine.write(b"engine of " + arguments["onnx"].encode())
    if arguments.get("sparsity") == "enable":
        say("I", "[TRT] (Sparsity) Layers eligible for sparse math: Conv_0 + Relu_1, Conv_2, Gemm_4")
        say("I", "[TRT] (Sparsity) TRT inference plan picked sparse implementation for layers: Conv_2")
    sys.exit(0)
if {crashes}:
    say("E", "Cuda failure: out of memory")
    sys.exit(1)
assert os.path.isfile(arguments["loadEngine"])
for pair in filter(None, arguments.get("loadInputs", "").split(",")):
    assert os.path.isfile(pair.rpartition(":")[2]), pair
with open(arguments["loadEngine"], "rb") as engine:
    graph = engine.read().decode().rpartition(" ")[2]
if "exportOutput" in arguments:
    # Computed for real, on the graph that the engine was made of, and printed with the digits of a C++ stream.
    import numpy as np
    import onnxruntime
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    sizes = dict(pair.split(":") for pair in filter(None, arguments.get("shapes", "").split(",")))
    files = dict(pair.rsplit(":", 1) for pair in arguments["loadInputs"].split(","))
    types = {"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(int32)": "i4"}
    feed = {}
    for entry in session.get_inputs():
        shape = [int(size) for size in sizes[entry.name].split("x")] if entry.name in sizes else entry.shape
        feed[entry.name] = np.fromfile(files[entry.name], dtype=types[entry.type]).reshape(shape)
    outputs = session.run(None, feed)
    with open(arguments["exportOutput"], "w") as file:
        file.write("[\n")
        for number, (entry, values) in enumerate(zip(session.get_outputs(), outputs)):
            shape = "x".join(map(str, values.shape))
            file.write('%s{ "name" : "%s"\n  , "dimensions" : "%s"\n' % (", " if number else "  ", entry.name, shape))
            file.write('  , "values" : [ %s ]\n  }\n' % ", ".join("%g" % value for value in values.ravel()))
        file.write("]\n")
    sys.exit(0)
if "exportProfile" in arguments:
    with open(arguments["exportProfile"], "w") as profile:
        profile.write('[\n  { "count" : 800 }\n')
        for name, time in (("Reformatting CopyNode for Input Tensor 0", 0.1), ("Gemm + relu", 0.7)):
            profile.write(', { "name" : "%s", "timeMs" : %g, "averageMs" : %g }\n' % (name, 800 * time, time))
        profile.write("]\n")
import time
time.sleep({seconds})
slower = 2.0 if "original" in graph else 1.0
with open(arguments["exportTimes"], "w") as times:
    trace = []
    for query in range(120 if {summary} else 0):
        compute = slower * (1.2 + 0.001 * (query * 7 % 20))
        trace.append({"startComputeMs": 100.0 * query, "computeMs": compute, "latencyMs": compute + 0.02})
    json.dump(trace, times)
say("I", "Warmup completed 812 queries over 1000 ms")
say("I", "Timing trace has 8025 queries over 10.0013 s")
say("I", "")
say("I", "=== Trace details ===")
say("I", "Average on 10 runs - GPU latency: 1.22 ms - Host latency: 1.31 ms (enqueue 0.2 ms)")
say("I", "")
if {summary}:
    say("I", "=== Performance summary ===")
    say("I", "Throughput: %s qps" % (802.4 / slower))
    say("I", "Latency: min = 1.20068 ms, max = 2.61475 ms, mean = 1.24518 ms, median = 1.24023 ms, "
        "percentile(90%) = 1.26 ms, percentile(99%) = 1.5 ms")
    say("I", "Enqueue Time: min = 0.05 ms, max = 0.9 ms, mean = 0.1 ms, median = 0.09 ms, "
        "percentile(90%) = 0.12 ms, percentile(99%) = 0.3 ms")
    say("I", "H2D Latency: min = 0.005 ms, max = 0.08 ms, mean = 0.01 ms, median = 0.01 ms, "
        "percentile(90%) = 0.012 ms, percentile(99%) = 0.02 ms")
    say("I", "GPU Compute Time: min = 1.18 ms, max = 2.5 ms, mean = 1.22 ms, median = 1.21 ms, "
        "percentile(90%) = 1.24 ms, percentile(99%) = 1.48 ms")
    say("W", "* GPU compute time is unstable, with coefficient of variance = 3.1%.")
    say("W", "  If not already in use, locking GPU clock frequency may improve the stability.")
"""


def install(
    folder: Path,
    python: str,
    *,
    version: str = "100300",
    typed: bool = True,
    weak: bool = True,
    refuses: bool = False,
    crashes: bool = False,
    summary: bool = True,
    seconds: float = 0.0,
) -> Path:
    """Write the program into a folder that is then put on PATH; return the program's path.

    ``typed`` and ``weak``: whether it has --stronglyTyped and --fp16; TensorRT 11 has the former alone.
    """
    folder.mkdir(exist_ok=True)
    program = folder / "trtexec"
    switches: dict[str, object] = {"typed": typed, "weak": weak, "refuses": refuses, "crashes": crashes}
    switches |= {"summary": summary, "seconds": seconds}
    text = _SCRIPT.replace("{python}", python).replace("{version}", version)
    for name, value in switches.items():
        text = text.replace("{" + name + "}", str(value))
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return program

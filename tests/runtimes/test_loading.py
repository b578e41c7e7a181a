import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from qdq_graphs import residual_net, samples

from compress.runtimes import Engine, onnxruntime
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.loading import pack_engine
from compress.runtimes.onnxruntime_variants import open_packed
from compress.runtimes.variants import InputShape
from compress.store import hash_file
from compress.targets import load_target

INPUTS = {"x": InputShape("float32", (3, 2, 8, 8))}
OPENVINO = EngineOptions(provider="openvino")

# What a user's program does: it imports the loader, feeds the session, and never heard of this project.
_USER = """
import sys
sys.modules["compress"] = None
import numpy as np
from load import session
np.save("y.npy", session.run(["y"], {"x": np.load("x.npy")})[0])
"""


def packed(folder: Path, options: EngineOptions) -> Engine:
    model = residual_net(dtype="uint8", zero_point=128)
    engine = onnxruntime.build(model, load_target("x86-vnni"), folder)
    return pack_engine(engine, engine.graph, options, INPUTS)


def run_python(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(),
        EngineOptions(threads=2, arena=False, spinning=False, optimization="extended"),
        EngineOptions(offline=True),
        pytest.param(OPENVINO, marks=pytest.mark.openvino),
    ],
    ids=EngineOptions.describe,
)
def test_the_loader_runs_the_engine_as_it_was_measured(folder: Path, options: EngineOptions) -> None:
    engine, x = packed(folder, options), samples(3, 2, 8, 8)
    np.save(folder / "x.npy", x)
    run_python(folder, "-c", _USER)
    with open_packed(engine, options) as session:
        np.testing.assert_array_equal(np.load(folder / "y.npy"), session.run({"x": x})["y"])


def test_the_loader_alone_runs_the_engine_on_zeros(folder: Path) -> None:
    packed(folder, EngineOptions())
    assert run_python(folder, "load.py").split() == ["float32", "(3,", "5)"]


def test_the_loader_sets_exactly_the_chosen_options(folder: Path) -> None:
    packed(folder, EngineOptions(threads=2, arena=False, spinning=False, optimization="extended"))
    assert settings(folder) == [
        "options.intra_op_num_threads = 2",
        "options.use_deterministic_compute = True",
        "options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED",
        "options.enable_cpu_mem_arena = False",
        "options.add_session_config_entry('session.force_spinning_stop', '1')",
        "options.add_session_config_entry('session.intra_op.allow_spinning', '0')",
    ]


def test_defaults_of_onnx_runtime_are_not_repeated(folder: Path) -> None:
    packed(folder, EngineOptions())
    assert settings(folder) == ["options.intra_op_num_threads = 1", "options.use_deterministic_compute = True"]


def settings(folder: Path) -> list[str]:
    tree = ast.parse((folder / "load.py").read_text())
    return [line for node in tree.body if (line := ast.unparse(node)).startswith("options.")]


def test_the_folder_says_in_three_ways_how_the_engine_is_loaded(folder: Path) -> None:
    engine = packed(folder, OPENVINO) if openvino_is_here() else packed(folder, EngineOptions(offline=True))
    names = {"model.onnx", "engine.json", "load.py", "README.md"} | {engine.main.name}
    assert {path.name for path in folder.iterdir()} == {file.path.name for file in engine.files} == names
    assert all(hash_file(file.path) == file.sha256 for file in engine.files)
    described = json.loads((folder / "engine.json").read_text())
    assert described["model"] == engine.main.name
    assert described["packages"] == dict(engine.versions)
    assert described["inputs"] == {"x": {"dtype": "float32", "shape": [3, 2, 8, 8]}}
    readme = (folder / "README.md").read_text()
    loader = (folder / "load.py").read_text()
    assert "$" not in readme
    assert loader.split('"""\n\n')[1].split("\nif __name__")[0] in readme
    assert f'Ort::Session session(env, ORT_TSTR("{engine.main.name}"), options);' in readme


def openvino_is_here() -> bool:
    import importlib.util

    return importlib.util.find_spec("onnxruntime_ep_openvino") is not None


@pytest.mark.openvino
def test_the_readme_names_the_plugin_in_both_languages(folder: Path) -> None:
    packed(folder, OPENVINO)
    readme = (folder / "README.md").read_text()
    assert "pip install onnxruntime==" in readme
    assert "onnxruntime-ep-openvino==" in readme
    assert "options.AppendExecutionProvider_V2(" in readme
    assert readme.count('"INFERENCE_NUM_THREADS": "1"') == 2


def test_the_c_plus_plus_snippet_has_the_same_options(folder: Path) -> None:
    packed(folder, EngineOptions(threads=2, arena=False, optimization="basic"))
    readme = (folder / "README.md").read_text()
    for line in (
        "options.SetIntraOpNumThreads(2);",
        "options.SetGraphOptimizationLevel(ORT_ENABLE_BASIC);",
        "options.DisableCpuMemArena();",
        'options.AddConfigEntry("session.force_spinning_stop", "1");',
    ):
        assert line in readme


def test_another_graph_takes_the_place_of_the_engines_own(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(residual_net(dtype="int8", zero_point=0).to_bytes())
    engine = onnxruntime.build(residual_net(dtype="uint8", zero_point=128), load_target("x86-vnni"), folder)
    made = pack_engine(engine, other, EngineOptions(), INPUTS)
    assert made.main == folder / "model.onnx"
    assert made.main.read_bytes() == other.read_bytes()
    assert made.size() == other.stat().st_size


def test_an_offline_engine_keeps_the_portable_graph_beside_it(folder: Path) -> None:
    engine = packed(folder, EngineOptions(offline=True))
    assert (engine.main.name, engine.graph.name) == ("model.optimized.onnx", "model.onnx")
    assert "QLinearConv" in {node.op_type for node in onnx.load(engine.main).graph.node}
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(engine.graph).graph.node}

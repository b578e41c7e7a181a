"""What an engine folder contains beside the graph: how to load it, in Python, in C++ and as data.

Nothing of it needs this project.
"""

import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from string import Template
from typing import Final

from compress.runtimes import Engine
from compress.runtimes.engine_files import GRAPH, list_files
from compress.runtimes.engine_options import EngineOptions
from compress.runtimes.offline import loading_options, prepare_graph
from compress.runtimes.openvino_plugin import PACKAGE, provider_options
from compress.runtimes.session_options import ALLOW_SPINNING, LEVELS, SPINNING_STOP
from compress.runtimes.variants import InputShape
from compress.store import write_atomically

SCHEMA: Final = "compress.engine/1"
_TEMPLATE: Final = Path(__file__).with_name("README.template.md")
_LEVEL_OF_A_NEW_SESSION: Final = "all"


def pack_engine(engine: Engine, graph: Path, options: EngineOptions, inputs: Mapping[str, InputShape]) -> Engine:
    """Return the engine with the chosen graph as its ``model.onnx``, and with what loads it in its folder.

    Args:
        engine: As the runtime built it; its folder is written to.
        graph: The ONNX file to ship, the engine's own or another one.
        options: How it is run.
        inputs: For the call on zeros.

    Raises:
        CompressError: ONNX Runtime refuses the graph.
    """
    if graph != engine.graph:
        write_atomically(engine.graph, graph.read_bytes())
    main = prepare_graph(engine.graph, options, engine.folder)
    texts = {
        "engine.json": _describe(main, options, inputs),
        "load.py": _render_loader(main, options, inputs),
        "README.md": _render_readme(main, options, inputs),
    }
    for name, text in texts.items():
        write_atomically(engine.folder / name, text.encode())
    files = [
        engine.folder / GRAPH,
        *([main] if main != engine.graph else []),
        *(engine.folder / name for name in texts),
    ]
    return replace(engine, main=main, files=list_files(files), versions=_versions(options))


def _versions(options: EngineOptions) -> dict[str, str]:
    packages = ("onnxruntime", *((PACKAGE,) if options.provider == "openvino" else ()))
    return {package: importlib.metadata.version(package) for package in packages}


def _describe(main: Path, options: EngineOptions, inputs: Mapping[str, InputShape]) -> str:
    content = {
        "schema": SCHEMA,
        "model": main.name,
        "packages": _versions(options),
        "options": asdict(options),
        "inputs": {name: asdict(shape) for name, shape in inputs.items()},
    }
    return json.dumps(content, indent=2) + "\n"


def _render_loader(main: Path, options: EngineOptions, inputs: Mapping[str, InputShape]) -> str:
    feed = ", ".join(f'"{name}": np.zeros({shape.shape}, "{shape.dtype}")' for name, shape in inputs.items())
    run = (
        'if __name__ == "__main__":\n'
        "    import numpy as np\n\n"
        f"    for output in session.run(None, {{{feed}}}):\n"
        "        print(output.dtype, output.shape)\n"
    )
    return f'"""Loads the engine beside it: `from load import session`."""\n\n{_python(main, options)}\n{run}'


def _python(main: Path, options: EngineOptions) -> str:
    openvino = options.provider == "openvino"
    imports = ["from pathlib import Path", "", "import onnxruntime as ort"]
    if openvino:
        imports.append("import onnxruntime_ep_openvino as plugin")
    lines = ["options = ort.SessionOptions()", *(f"options.{line}" for line in _python_settings(options))]
    providers = ', providers=["CPUExecutionProvider"]'
    if openvino:
        providers = ""
        lines += [
            'ort.register_execution_provider_library("OpenVINO", plugin.get_library_path())',
            "cpu = next(",
            "    device for device in ort.get_ep_devices()",
            '    if device.ep_name == plugin.get_ep_name() and device.ep_metadata["ov_device"] == "CPU"',
            ")",
            f"options.add_provider_for_devices([cpu], {provider_options(options)!r})",
        ]
    lines.append(f'session = ort.InferenceSession(Path(__file__).with_name("{main.name}"), options{providers})')
    return "\n".join([*imports, "", *lines]) + "\n"


def _python_settings(options: EngineOptions) -> Iterator[str]:
    """Yield what differs from a new ``SessionOptions``, as Python spells it."""
    yield f"intra_op_num_threads = {options.threads}"
    yield "use_deterministic_compute = True"
    level = loading_options(options).optimization
    if level != _LEVEL_OF_A_NEW_SESSION:
        yield f"graph_optimization_level = ort.GraphOptimizationLevel.{LEVELS[level]}"
    if not options.arena:
        yield "enable_cpu_mem_arena = False"
    for key, value in _entries(options).items():
        yield f'add_session_config_entry("{key}", "{value}")'


def _entries(options: EngineOptions) -> dict[str, str]:
    """Return the session's configuration entries; one thread alone never spins."""
    if options.threads == 1:
        return {}
    return {SPINNING_STOP: "1", **({} if options.spinning else {ALLOW_SPINNING: "0"})}


def _cpp(main: Path, options: EngineOptions) -> str:
    headers = ["onnxruntime_cxx_api.h", *(("string", "unordered_map") if options.provider == "openvino" else ())]
    lines = [
        *(f"#include <{header}>" for header in headers),
        "",
        "Ort::Env env;",
        "Ort::SessionOptions options;",
        f"options.SetIntraOpNumThreads({options.threads});",
        "options.SetDeterministicCompute(true);",
    ]
    level = loading_options(options).optimization
    if level != _LEVEL_OF_A_NEW_SESSION:
        lines.append(f"options.SetGraphOptimizationLevel({LEVELS[level]});")
    if not options.arena:
        lines.append("options.DisableCpuMemArena();")
    lines += [f'options.AddConfigEntry("{key}", "{value}");' for key, value in _entries(options).items()]
    if options.provider == "openvino":
        ((key, value),) = provider_options(options).items()
        lines += [
            "env.RegisterExecutionProviderLibrary(",
            '    "OpenVINO", ORT_TSTR("libonnxruntime_providers_openvino_plugin.so"));',
            "for (Ort::ConstEpDevice device : env.GetEpDevices()) {",
            '  if (std::string(device.EpName()) == "OpenVINOExecutionProvider" &&',
            '      std::string(device.EpMetadata().GetValue("ov_device")) == "CPU") {',
            "    options.AppendExecutionProvider_V2(",
            f'        env, {{device}}, std::unordered_map<std::string, std::string>{{{{"{key}", R"({value})"}}}});',
            "  }",
            "}",
        ]
    lines.append(f'Ort::Session session(env, ORT_TSTR("{main.name}"), options);')
    return "\n".join(lines) + "\n"


def _render_readme(main: Path, options: EngineOptions, inputs: Mapping[str, InputShape]) -> str:
    versions = _versions(options)
    intro = f"With the C++ API of ONNX Runtime {versions['onnxruntime']}"
    if options.provider == "openvino":
        intro += f", and the plugin's library from the Python package {PACKAGE} beside the program"
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        main=main.name,
        how=options.describe(),
        threads=options.threads,
        packages=" ".join(f"{name}=={version}" for name, version in versions.items()),
        inputs=", ".join(f'"{name}": …' for name in inputs),
        python=_python(main, options),
        cpp_intro=f"{intro}:",
        cpp=_cpp(main, options),
    )

from pathlib import Path

import exported_nets
import pytest

from compress.data.synthetic import synthesize
from compress.recipe import load_recipe
from compress.runtimes.tensorrt_rtx import build
from compress.steps import StepContext, run_step
from compress.store import Store
from compress.targets import load_target

TARGETS = ("rtx-turing", "rtx-ampere", "rtx-ada", "rtx-blackwell", "rtx-any")


@pytest.mark.rtx
@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["fp16", "int8+fp16"])
@pytest.mark.parametrize("name", sorted(exported_nets.ARCHITECTURES))
def test_every_network_compiles_for_every_generation(tmp_path: Path, name: str, recipe: str) -> None:
    model = exported_nets.folded_model(name)
    samples = synthesize(model.inputs, 16, seed=1)
    context = StepContext(load_target("rtx-ada"), samples, 1, 0, Store(tmp_path), lambda *_: None, model)
    lowered = model
    for step in load_recipe(recipe).attempts[0]:
        lowered = run_step(step.name, step.function, step.settings, lowered, context)
    assert lowered.inputs[0].shape[0] == "batch"
    for target in TARGETS:
        folder = tmp_path / target
        folder.mkdir()
        assert build(lowered, load_target(target), folder).kind == "tensorrt"

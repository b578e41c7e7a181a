"""TorchScript archives."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.intake import IntakeOptions, take_in
from compress.intake.operators import find_forbidden_word, is_allowed_operator
from compress.model import TensorSpec
from compress.runtimes.onnxruntime import open_graph

OPTIONS = IntakeOptions(inputs=(TensorSpec("pixels", "float32", ("batch", 3, 8, 8)),))

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def save_script(module: nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(module.eval()), path)
    return path


def rewrite(path: Path, old: bytes, new: bytes) -> Path:
    """Write the archive again with some text replaced in its code."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(old, new) if "/code/" in name else content)
    return path


def test_a_scripted_module_keeps_its_outputs_and_gets_a_note(small_net: nn.Module, tmp_path: Path) -> None:
    intake = take_in(save_script(small_net, tmp_path / "m.bin"), OPTIONS)
    image = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = small_net(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(intake.reference({"pixels": image})["output"].astype(np.float64), wanted, atol=1e-6)
    with open_graph(intake.model.to_bytes(), threads=1) as session:
        np.testing.assert_allclose(session.run({"pixels": image})["output"].astype(np.float64), wanted, atol=1e-5)
    assert intake.kind == "torchscript"
    assert intake.model.inputs == OPTIONS.inputs
    assert intake.model.outputs == (TensorSpec("output", "float32", ("batch", 5)),)
    assert intake.notes[0].startswith("TorchScript is deprecated")
    assert "BatchNormalization" not in {node.op_type for node in intake.model.graph.graph}


def test_without_inputs_it_tells_how_to_state_them(small_net: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not say what its inputs are"):
        take_in(save_script(small_net, tmp_path / "m"), IntakeOptions())


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (b"torch.save(image, '/tmp/x')", "save"),
        (b"(image).save('/tmp/x')", "save"),
        (b"torch.from_file('/etc/passwd', None, 4)", "from_file"),
        (b"ops.c10d.send(image)", "c10d"),
        (b"ops . symm_mem . x()", "ops . symm_mem"),
        (b"__torch__.torch.classes.dist_c10d.ProcessGroup()", "dist_c10d"),
        (b"torch . classes . foreign . X()", "torch . classes . foreign"),
    ],
)
def test_code_that_reaches_beyond_tensors_is_refused_before_it_is_loaded(
    small_net: nn.Module, tmp_path: Path, code: bytes, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rewrite(save_script(small_net, tmp_path / "m"), b"torch.relu(", code + b"; torch.relu(")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ModelError, match=f"uses `.*{found}") as caught:
        take_in(path, OPTIONS)
    assert caught.value.exit_code == 2


def test_a_foreign_class_in_its_data_is_refused(small_net: nn.Module, tmp_path: Path) -> None:
    path = save_script(small_net, tmp_path / "m")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/extra.pkl", b"c__torch__.torch.classes.aoti.Loader\nX\n")
    with pytest.raises(ModelError, match=r"uses `torch\.classes\.aoti\.Loader`"):
        take_in(path, OPTIONS)


def test_harmless_code_has_no_forbidden_word() -> None:
    assert find_forbidden_word(b"x = torch.relu(self.ops.conv)\nops.prim.RaiseException(saved)") is None
    assert find_forbidden_word(b"__torch__.torch.classes.quantized.Conv2dPackedParamsBase") is None


def test_damaged_code_is_refused(small_net: nn.Module, tmp_path: Path) -> None:
    path = rewrite(save_script(small_net, tmp_path / "m"), b"torch.relu(", b"torch.relu((")
    with pytest.raises(ModelError, match="TorchScript archive that cannot be loaded"):
        take_in(path, OPTIONS)


def test_inputs_that_do_not_fit_are_refused(small_net: nn.Module, tmp_path: Path) -> None:
    wrong = IntakeOptions(inputs=(TensorSpec("pixels", "float32", ("batch", 4, 8, 8)),))
    with pytest.raises(ModelError, match="cannot be exported to ONNX"):
        take_in(save_script(small_net, tmp_path / "m"), wrong)


class Branch(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x - y


def test_traced_modules_with_several_inputs_and_outputs_are_taken_in(tmp_path: Path) -> None:
    traced = torch.jit.trace(Branch(), (torch.ones(2, 3), torch.ones(2, 3)))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, tmp_path / "m")
    specs = tuple(TensorSpec(name, "float32", ("batch", 3)) for name in ("a", "b"))
    intake = take_in(tmp_path / "m", IntakeOptions(inputs=specs))
    feed = {"a": np.full((4, 3), 5, np.float32), "b": np.ones((4, 3), np.float32)}
    with open_graph(intake.model.to_bytes(), threads=1) as session:
        found = session.run(feed)
    assert {name: value[0, 0] for name, value in found.items()} == {"output_0": 10, "output_1": 4}
    np.testing.assert_array_equal(intake.reference(feed)["output_1"], found["output_1"])


def test_common_operators_are_allowed() -> None:
    for target in ("aten.conv2d.default", "aten.gelu.default", "aten.add.Tensor", "higher_order.cond"):
        assert is_allowed_operator(f"torch.ops.{target}") or target == "higher_order.cond"
    assert is_allowed_operator("torch.ops.higher_order.cond")
    assert is_allowed_operator("_operator.add")
    assert is_allowed_operator("torch.sym_max")
    assert not is_allowed_operator("torch.ops.aten.add.absent")
    assert not is_allowed_operator("torch.ops.aten.__class__.default")

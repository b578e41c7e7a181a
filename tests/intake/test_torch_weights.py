"""State dicts, safetensors and pickled modules."""

import pickle
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compress.errors import ModelError
from compress.intake import Intake, IntakeOptions, take_in
from compress.model import TensorSpec
from compress.runtimes.onnxruntime import open_graph

IMAGE = TensorSpec("image", "float32", ("batch", 3, 8, 8))

FACTORY = """
    import torch
    from torch import nn

    NUMBER = 3

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.head = nn.Linear(4, 2)

        def forward(self, image):
            return self.head(self.norm(self.stem(image)).mean((2, 3)))

    class Wide(Net):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

    def fails():
        raise ValueError("no weights on this shelf")
"""


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A folder with the module `usernets`, which is forgotten afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "usernets.py").write_text(textwrap.dedent(FACTORY))
    yield folder
    sys.modules.pop("usernets", None)
    assert str(folder) not in sys.path


@pytest.fixture
def net(package: Path) -> nn.Module:
    from compress.intake.factory import build_module

    torch.manual_seed(0)
    net = build_module("usernets:Net", package)
    norm = net.norm
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean, norm.running_var = torch.rand(4), torch.rand(4) + 1
    return net.eval()


def options(package: Path | None, factory: str | None = "usernets:Net", **more: Any) -> IntakeOptions:
    return IntakeOptions(**{"inputs": (IMAGE,), "factory": factory, "search_path": package, **more})


def same_outputs(intake: Intake, net: nn.Module) -> None:
    image = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = net(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(intake.reference({"image": image})["output"].astype(np.float64), wanted, atol=1e-6)
    with open_graph(intake.model.to_bytes(), threads=1) as session:
        found = session.run({"image": image})["output"]
    np.testing.assert_allclose(found.astype(np.float64), wanted, atol=1e-5)


def test_a_state_dict_with_its_factory_is_taken_in(package: Path, net: nn.Module, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "w.pt")
    intake = take_in(tmp_path / "w.pt", options(package))
    same_outputs(intake, net)
    assert intake.kind == "state-dict"
    assert intake.model.inputs == (IMAGE,)
    assert intake.model.outputs[0].shape == ("batch", 2)


def test_a_wrapped_checkpoint_in_the_legacy_format_is_taken_in(package: Path, net: nn.Module, tmp_path: Path) -> None:
    checkpoint = {"epoch": 3, "state_dict": net.state_dict()}
    torch.save(checkpoint, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    same_outputs(take_in(tmp_path / "w.pt", options(package)), net)


def test_safetensors_with_their_factory_are_taken_in(package: Path, net: nn.Module, tmp_path: Path) -> None:
    save_file(net.state_dict(), tmp_path / "w.bin")
    spec = TensorSpec("pixels", "float32", ("batch", 3, 8, 8))
    intake = take_in(tmp_path / "w.bin", options(package, inputs=(spec,)))
    assert intake.kind == "safetensors"
    assert intake.model.inputs == (spec,)
    assert intake.reference({"pixels": np.zeros((2, 3, 8, 8), np.float32)})["output"].shape == (2, 2)


def test_damaged_safetensors_are_refused(package: Path, net: nn.Module, tmp_path: Path) -> None:
    save_file(net.state_dict(), tmp_path / "w")
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:-8])
    with pytest.raises(ModelError, match="safetensors file that is cut short or damaged"):
        take_in(tmp_path / "w", options(package))


def test_weights_without_a_factory_list_their_names_and_the_way_out(net: nn.Module, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "w.pt")
    with pytest.raises(
        ModelError, match=r"holds 9 weights \(stem\.weight, stem\.bias, .*\) but not the network"
    ) as caught:
        take_in(tmp_path / "w.pt", options(None, factory=None))
    assert caught.value.hint is not None
    assert "--factory package.module:callable" in caught.value.hint
    assert "torch.export.save(program, 'model.pt2')" in caught.value.hint


def test_weights_without_inputs_tell_how_to_state_them(package: Path, net: nn.Module, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="does not say what its inputs are") as caught:
        take_in(tmp_path / "w.pt", options(package, inputs=()))
    assert caught.value.hint is not None
    assert "--input image=batch,3,224,224:float32" in caught.value.hint


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("usernets", "not of the form package.module:callable"),
        ("absent_nets:Net", "cannot be imported: No module named 'absent_nets'"),
        ("usernets:Missing", "module `usernets` has no `Missing`"),
        ("usernets:NUMBER", "is a int, not a callable"),
        ("usernets:torch.zeros", "failed:"),
        ("usernets:fails", "failed: no weights on this shelf"),
        ("usernets:torch.get_default_dtype", "returned a dtype, not an nn.Module"),
        ("usernets:Wide", r"weight `head\.weight` is \[2, 4\] in the file and \[3, 4\] in `usernets:Wide`"),
    ],
)
def test_a_factory_that_does_not_fit_says_why(
    package: Path, net: nn.Module, tmp_path: Path, factory: str, message: str
) -> None:
    torch.save(net.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message) as caught:
        take_in(tmp_path / "w.pt", options(package, factory))
    assert caught.value.hint


def test_missing_and_unexpected_weights_are_named(package: Path, net: nn.Module, tmp_path: Path) -> None:
    weights = dict(net.state_dict())
    weights["neck.weight"] = weights.pop("head.weight")
    weights |= {f"extra.{index}": torch.zeros(1) for index in range(6)}
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(
        ModelError, match=r"it lacks head\.weight; it has, and .* neck\.weight, extra\.0, .* and 2 more"
    ):
        take_in(tmp_path / "w.pt", options(package))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1, "optimizer": {}}, "holds a dict with epoch, optimizer"),
        ([1, 2], "holds a list"),
        ({}, "no weights"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message):
        take_in(tmp_path / "w.pt", options(None))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickled_module_is_refused_and_its_classes_are_listed(
    package: Path, net: nn.Module, tmp_path: Path, zipped: bool, protocol: int
) -> None:
    path = tmp_path / "w.pt"
    torch.save(net, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    with pytest.raises(ModelError, match=r"it wants .*torch\.nn\.modules\.conv\.Conv2d.*usernets\.Net") as caught:
        take_in(path, options(package, None))
    assert caught.value.hint is not None
    assert "--trust-pickle" in caught.value.hint
    assert "torch.export.save" in caught.value.hint


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_malicious_pickle_is_refused_and_does_not_run(
    tmp_path: Path, marker: Path, payload: object, zipped: bool
) -> None:
    torch.save({"w": torch.zeros(1), "x": payload}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"runs code as it loads; it wants posix\.mkdir"):
        take_in(tmp_path / "w.pt", options(None))
    assert not marker.exists()


def test_a_bare_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, marker: Path, payload: object) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps(payload))
    with pytest.raises(ModelError, match="bare pickle"):
        take_in(tmp_path / "w.pt", options(None, trust_pickle=True))
    assert not marker.exists()


def test_a_trusted_pickled_module_is_taken_in(package: Path, net: nn.Module, tmp_path: Path) -> None:
    torch.save(net, tmp_path / "w.pt")
    sys.modules.pop("usernets")
    intake = take_in(tmp_path / "w.pt", options(package, None, trust_pickle=True))
    same_outputs(intake, net)
    assert intake.kind == "pickled-module"
    assert "ran code of the file" in intake.notes[0]


def test_a_trusted_pickle_needs_inputs_its_classes_and_a_module(package: Path, net: nn.Module, tmp_path: Path) -> None:
    torch.save(net, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="does not say what its inputs are"):
        take_in(tmp_path / "w.pt", options(package, None, trust_pickle=True, inputs=()))
    sys.modules.pop("usernets")
    with pytest.raises(ModelError, match="cannot be unpickled: No module named 'usernets'"):
        take_in(tmp_path / "w.pt", options(None, None, trust_pickle=True))
    torch.save({"path": Path("x")}, tmp_path / "p.pt")
    with pytest.raises(ModelError, match="holds a dict, not an"):
        take_in(tmp_path / "p.pt", options(None, None, trust_pickle=True))


def test_a_damaged_legacy_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"w": torch.zeros(100)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError):
        take_in(path, options(None))

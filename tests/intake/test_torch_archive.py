"""torch.export archives: taken in faithfully, and never a way to run code."""

import contextlib
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.intake import IntakeOptions, take_in
from compress.intake.archive import open_archive
from compress.intake.torch_archive import load_program, sanitize
from compress.model import TensorSpec
from compress.runtimes.onnxruntime import open_graph

EditProgram = Callable[[Callable[[dict[str, Any]], None]], Path]
Tamper = Callable[[Callable[[dict[str, bytes]], None]], Path]


def save_archive(module: nn.Module, args: tuple[Any, ...], path: Path, **settings: Any) -> Path:
    with path.open("wb") as file:
        torch.export.save(torch.export.export(module.eval(), args, **settings), file)
    return path


def refused(path: Path, marker: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        take_in(path, IntakeOptions())
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert not marker.exists()


def test_the_payload_of_these_tests_does_run_when_it_is_unpickled(marker: Path, payload: object) -> None:
    pickle.loads(pickle.dumps(payload))
    assert marker.exists()


def test_an_archive_keeps_its_outputs_and_gets_a_dynamic_batch(tamper: Tamper) -> None:
    intake = take_in(tamper(lambda _: None), IntakeOptions())
    image = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    wanted = intake.reference({"image": image})["output"]
    with open_graph(intake.model.to_bytes(), threads=1) as session:
        found = session.run({"image": image})["output"]
    np.testing.assert_allclose(found.astype(np.float64), wanted.astype(np.float64), atol=1e-5)
    assert intake.kind == "torch.export"
    assert intake.model.inputs == (TensorSpec("image", "float32", ("batch", 3, 8, 8)),)
    assert intake.model.outputs == (TensorSpec("output", "float32", ("batch", 5)),)
    # Without the four of the batch normalization that went into the convolution: 4·27+4, 4·18+4, 4·5+5.
    assert intake.parameters == 4 * 27 + 4 + 4 * 18 + 4 + 4 * 5 + 5
    assert intake.notes == ()
    assert "BatchNormalization" not in {node.op_type for node in intake.model.graph.graph}


def test_the_reference_is_the_source_module(
    small_net: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save_archive(small_net, (torch.zeros(1, 3, 8, 8),), tmp_path / "m")
    intake = take_in(path, IntakeOptions())
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        np.testing.assert_array_equal(intake.reference({"image": image.numpy()})["output"], small_net(image).numpy())
    assert capfd.readouterr() == ("", "")


def test_a_fixed_batch_stays_fixed_and_is_said(small_net: nn.Module, tmp_path: Path) -> None:
    intake = take_in(save_archive(small_net, (torch.zeros(1, 3, 8, 8),), tmp_path / "m"), IntakeOptions())
    assert intake.model.inputs[0].shape == (1, 3, 8, 8)
    assert "fixed batch of 1" in intake.notes[0]


def test_the_same_archive_gives_the_same_bytes(tamper: Tamper) -> None:
    path = tamper(lambda _: None)
    first, second = (take_in(path, IntakeOptions()).model.to_bytes() for _ in range(2))
    assert first == second
    assert b"/" not in b"".join(re.findall(rb"[\w./]+\.py", first))


class TwoOutputs(nn.Module):
    def forward(self, left: Tensor, *, right: Tensor) -> dict[str, Tensor]:
        return {"sum": torch.cat([left, right], 1), "right": right * 2}


def test_keyword_inputs_named_outputs_and_other_dynamic_axes_keep_readable_names(tmp_path: Path) -> None:
    batch, steps = torch.export.Dim("n"), torch.export.Dim("steps")
    shapes = {"left": {0: batch, 1: steps}, "right": {0: batch, 1: steps}}
    path = tmp_path / "m.pt2"
    example = torch.randn(2, 6)
    program = torch.export.export(TwoOutputs(), (example,), {"right": example}, dynamic_shapes=shapes)
    with path.open("wb") as file:
        torch.export.save(program, file)
    intake = take_in(path, IntakeOptions(inputs=(TensorSpec("left", "float32", ("batch", "steps")),)))
    assert [str(spec) for spec in intake.model.inputs] == [
        "left: float32[batch, steps]",
        "right: float32[batch, steps]",
    ]
    assert [(spec.name, spec.shape) for spec in intake.model.outputs] == [
        ("sum", ("batch", "2*steps")),
        ("right_out", ("batch", "steps")),
    ]
    feed = {"left": np.ones((3, 4), np.float32), "right": np.full((3, 4), 2, np.float32)}
    with open_graph(intake.model.to_bytes(), threads=1) as session:
        found = session.run(feed)
    for name, wanted in intake.reference(feed).items():
        np.testing.assert_array_equal(found[name], wanted)
    with pytest.raises(ModelError, match="lack the model's input `right`"):
        intake.reference({"left": feed["left"]})


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.arange(12.0).reshape(3, 4)

    def forward(self, x: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        return x @ self.table * scale, x


def test_constants_and_constant_arguments_are_kept(tmp_path: Path) -> None:
    path = save_archive(Constant(), (torch.ones(2, 3), 2), tmp_path / "m")
    intake = take_in(path, IntakeOptions())
    assert [spec.name for spec in intake.model.inputs] == ["x"]
    feed = {"x": np.ones((2, 3), np.float32)}
    with open_graph(intake.model.to_bytes(), threads=1) as session:
        found = session.run(feed)
    wanted = intake.reference(feed)
    np.testing.assert_array_equal(wanted["output_0"][0], [24, 30, 36, 42])
    np.testing.assert_array_equal(found["output_0"], wanted["output_0"])
    np.testing.assert_array_equal(found["output_1"], feed["x"])


def test_an_archive_in_training_mode_is_refused(small_net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "m"
    with path.open("wb") as file:
        torch.export.save(torch.export.export(small_net.train(), (torch.zeros(2, 3, 8, 8),)), file)
    with pytest.raises(ModelError, match="exported in training mode"):
        take_in(path, IntakeOptions())


def test_a_model_that_lived_on_another_device_is_moved_to_the_cpu(tamper: Tamper) -> None:
    def move(members: dict[str, bytes]) -> None:
        for name, content in members.items():
            if name.endswith(".json"):
                members[name] = content.replace(
                    b'"device": {"type": "cpu", "index": null}', b'"device": {"type": "cuda", "index": 0}'
                )

    path = tamper(move)
    with zipfile.ZipFile(path) as archive:
        assert b'"cuda"' in archive.read("archive/models/model.json")
    assert {str(tensor.device) for tensor in load_program(path).state_dict.values()} == {"cpu"}


def test_code_in_sample_inputs_is_refused(tamper: Tamper, marker: Path, payload: object) -> None:
    buffer = io.BytesIO()
    torch.save(((payload,), {}), buffer)
    path = tamper(lambda members: members.update({"data/sample_inputs/model.pt": buffer.getvalue()}))
    refused(path, marker, "sample inputs of tampered.pt run code")


def test_sample_inputs_that_are_a_bare_pickle_are_refused(tamper: Tamper, marker: Path, payload: object) -> None:
    content = pickle.dumps(payload)
    path = tamper(lambda members: members.update({"data/sample_inputs/model.pt": content}))
    refused(path, marker, "are no file of `torch.save`")


def payload_edit(folder: str, payload: object, change: dict[str, object]) -> Callable[[dict[str, bytes]], None]:
    """Return an edit that points a weight or a constant at a pickle with code."""
    buffer = io.BytesIO()
    torch.save(payload, buffer)

    def edit(members: dict[str, bytes]) -> None:
        name = f"data/{folder}/model_{folder}_config.json"
        config = json.loads(members[name])
        weight = dict(next(iter(json.loads(members["data/weights/model_weights_config.json"])["config"].values())))
        config["config"]["evil"] = {**weight, **change}
        members[name] = json.dumps(config).encode()
        members[f"data/{folder}/{change['path_name']}"] = buffer.getvalue()

    return edit


@pytest.mark.parametrize(
    ("folder", "change"),
    [
        ("weights", {"use_pickle": True, "path_name": "weight_99"}),
        ("constants", {"use_pickle": True, "path_name": "tensor_99"}),
        ("constants", {"use_pickle": False, "path_name": "custom_obj_0"}),
        ("constants", {"use_pickle": True, "path_name": "opaque_obj_0"}),
    ],
    ids=["weight", "constant", "custom object", "opaque object"],
)
def test_a_pickled_payload_is_refused(
    tamper: Tamper, marker: Path, payload: object, folder: str, change: dict[str, object]
) -> None:
    refused(tamper(payload_edit(folder, payload, change)), marker, "stores `evil` as a pickle or a custom object")


def test_weights_in_the_legacy_pickle_are_not_read(tamper: Tamper, marker: Path, payload: object) -> None:
    buffer = io.BytesIO()
    torch.save({"x": payload}, buffer)

    def edit(members: dict[str, bytes]) -> None:
        del members["data/weights/model_weights_config.json"]
        members["data/weights/model.pt"] = buffer.getvalue()

    refused(tamper(edit), marker, "lacks `data/weights/model_weights_config.json`")


def expressions(program: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        size["as_expr"]
        for meta in program["graph_module"]["graph"]["tensor_values"].values()
        for size in meta["sizes"]
        if "as_expr" in size
    ]


def test_code_in_a_shape_expression_is_refused(edit_program: EditProgram, marker: Path) -> None:
    code = f"__import__('os').mkdir({str(marker)!r})"
    refused(
        edit_program(lambda program: expressions(program)[0].update(expr_str=code)),
        marker,
        "forbidden shape expression",
    )


def test_code_in_a_list_where_an_expression_belongs_is_refused(edit_program: EditProgram, marker: Path) -> None:
    code = [f"__import__('os').mkdir({str(marker)!r})"]
    refused(edit_program(lambda program: expressions(program)[0].update(expr_str=code)), marker, "of type list")


def test_code_in_a_range_constraint_is_refused(edit_program: EditProgram, marker: Path) -> None:
    def edit(program: dict[str, Any]) -> None:
        program["range_constraints"]["__import__('os')"] = {"min_val": 1, "max_val": 2}

    refused(edit_program(edit), marker, "forbidden symbol")


@pytest.mark.parametrize(
    "target",
    [
        "torch.load",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten._reshape_alias.default",
        "torch.hub.load",
        "_operator.methodcaller",
        "math.__loader__",
        "#foreign:op",
        "torch.ops.mylib.op.default",
    ],
)
def test_an_operator_beyond_tensors_is_refused(edit_program: EditProgram, marker: Path, target: str) -> None:
    path = edit_program(lambda program: program["graph_module"]["graph"]["nodes"][0].update(target=target))
    refused(path, marker, f"forbidden operator .*{re.escape(target)}")


def container(context: object, kind: str = "collections.defaultdict") -> str:
    leaf: dict[str, object] = {"type": None, "context": None, "children_spec": []}
    return json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])


@pytest.mark.parametrize(
    "spec",
    [
        container({"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}),
        container(json.dumps([{"__enum__": True, "fqn": "antigravity:x", "name": "y"}]), "builtins.dict"),
        container(json.dumps(["a):\n  import os"]), "builtins.dict"),
        container(None, "builtins.list"),
        json.dumps([1, {"type": None, "context": None, "children_spec": [], "more": 1}]),
        json.dumps([1, {"type": None, "context": None, "children_spec": {}}]),
        json.dumps([2, None]),
        "not json",
    ],
)
def test_an_input_structure_that_makes_torch_import_modules_is_refused(
    edit_program: EditProgram, marker: Path, spec: str
) -> None:
    def edit(program: dict[str, Any]) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = spec

    refused(edit_program(edit), marker, "forbidden structure of inputs")


@pytest.mark.parametrize("name", ["x):\n    import os\n    return (", "class", "a b", "__import__('os')"])
def test_a_name_that_would_become_source_code_is_refused(edit_program: EditProgram, marker: Path, name: str) -> None:
    def edit(program: dict[str, Any]) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [name]

    refused(edit_program(edit), marker, "forbidden name")


@pytest.mark.parametrize("name", ["stem.weight'); import os; ('", "__class__.x", "a..b"])
def test_a_parameter_name_that_would_become_source_code_is_refused(
    edit_program: EditProgram, marker: Path, name: str
) -> None:
    def edit(program: dict[str, Any]) -> None:
        program["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] = name

    refused(edit_program(edit), marker, "forbidden name")


def test_a_custom_object_in_the_signature_is_refused(edit_program: EditProgram, marker: Path) -> None:
    def edit(program: dict[str, Any]) -> None:
        spec = {"custom_obj": {"arg": {"name": "o", "class_fqn": "x"}, "custom_obj_name": "o"}}
        program["graph_module"]["signature"]["input_specs"][0] = spec

    refused(edit_program(edit), marker, "wants a custom object")


def test_guard_code_and_metadata_are_dropped_unread(edit_program: EditProgram, marker: Path) -> None:
    code = f"__import__('os').mkdir({str(marker)!r})"

    def edit(program: dict[str, Any]) -> None:
        program["guards_code"] = [code]
        program["graph_module"]["metadata"] = {"custom": code}
        program["graph_module"]["treespec_namedtuple_fields"] = {code: {"field_names": []}}
        for node in program["graph_module"]["graph"]["nodes"]:
            node["metadata"] = {"source_fn_stack": f"x,torch.{code}", "stack_trace": code}

    intake = take_in(edit_program(edit), IntakeOptions())
    assert intake.reference({"image": np.zeros((1, 3, 8, 8), np.float32)})["output"].shape == (1, 5)
    assert not marker.exists()


def test_a_field_that_this_version_does_not_know_how_to_judge_is_refused() -> None:
    from compress.intake.archive_schema import _clean_leaf

    with pytest.raises(ModelError, match=r"field `Node\.new`"):
        _clean_leaf(bytes, "x", "Node.new")
    with pytest.raises(ModelError, match="forbidden text"):
        _clean_leaf(str, "x" * 100, "Node.new")


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every leaf."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))
    else:
        yield path


def kinds_of_places(program: dict[str, Any]) -> list[tuple[str | int, ...]]:
    """Return one path for each kind of place: list positions and names of tensors make no difference."""
    kinds: dict[tuple[str, ...], tuple[str | int, ...]] = {}
    for path in places(program):
        inside = zip(("", *path), path, strict=False)
        kind = tuple("*" if isinstance(key, int) or outer == "tensor_values" else key for outer, key in inside)
        kinds.setdefault(kind, path)
    return list(kinds.values())


def test_code_put_anywhere_into_a_program_is_refused_or_does_not_reach_torch(
    archive_members: dict[str, bytes], edit_program: EditProgram
) -> None:
    code = "__import__('os').mkdir('x')"
    paths = kinds_of_places(json.loads(archive_members["models/model.json"]))
    assert len(paths) > 40
    dropped = []
    for path in paths:
        for payload in (code, [code], {code: code}, f"x):\n  {code}"):

            def put(program: dict[str, Any], path: tuple[Any, ...] = path, payload: object = payload) -> None:
                for key in path[:-1]:
                    program = program[key]
                program[path[-1]] = payload

            with contextlib.suppress(ModelError):
                assert code.encode() not in sanitize(open_archive(edit_program(put)))
                dropped.append(path[-1])
    assert set(dropped) == {"stack_trace", "nn_module_stack", "torch_fn"}


def test_a_program_without_a_required_field_is_refused(edit_program: EditProgram, marker: Path) -> None:
    refused(edit_program(lambda program: program.pop("graph_module")), marker, "`ExportedProgram` is not complete")
    path = edit_program(lambda program: program["graph_module"]["graph"]["inputs"].append({}))
    refused(path, marker, "`Argument` is not complete")


def test_samples_that_do_not_fit_are_refused_by_the_reference(tamper: Tamper) -> None:
    intake = take_in(tamper(lambda _: None), IntakeOptions())
    with pytest.raises(ModelError, match="the source model cannot run these samples"):
        intake.reference({"image": np.zeros((1, 4, 8, 8), np.float32)})


def test_missing_weight_values_are_refused(tamper: Tamper, marker: Path) -> None:
    refused(tamper(lambda members: members.update({"data/weights/weight_0": b""})), marker, "lacks the values of")


def test_short_weight_values_are_refused(tamper: Tamper, marker: Path) -> None:
    refused(tamper(lambda members: members.update({"data/weights/weight_0": b"1234"})), marker, "cannot be loaded")


def test_a_program_that_is_not_json_is_refused(tamper: Tamper, marker: Path) -> None:
    refused(tamper(lambda members: members.update({"models/model.json": b"{"})), marker, "is not JSON")
    refused(tamper(lambda members: members.update({"models/model.json": b"[" * 100_000})), marker, "is not JSON")
    refused(tamper(lambda members: members.update({"models/model.json": b"[]"})), marker, "of type list")


def test_several_programs_in_one_archive_need_one_called_model(tamper: Tamper, marker: Path) -> None:
    def edit(members: dict[str, bytes]) -> None:
        members["models/a.json"] = members["models/b.json"] = members.pop("models/model.json")

    refused(tamper(edit), marker, "holds 2 programs: a, b")


def test_a_single_program_may_have_any_name(tamper: Tamper) -> None:
    def edit(members: dict[str, bytes]) -> None:
        for name in list(members):
            if "model" in Path(name).name:
                members[name.replace("/model", "/other")] = members.pop(name)

    assert load_program(tamper(edit)).graph_signature.user_inputs == ("image",)


class Shapes(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        halves = x.reshape(x.shape[0], x.shape[1] // 2, 2).sum(2)
        return torch.nn.functional.pad(torch.cat([halves, y], 1), (1, x.shape[1] % 3))


def test_the_shape_expressions_that_torch_writes_pass(tmp_path: Path) -> None:
    auto = {1: torch.export.Dim.AUTO}
    args = (torch.randn(2, 6), torch.randn(2, 5))
    path = save_archive(Shapes(), args, tmp_path / "m", dynamic_shapes=(auto, auto))
    with zipfile.ZipFile(path) as archive:
        program = archive.read(next(name for name in archive.namelist() if "models/" in name)).decode()
    texts = re.findall(r'"expr_str": "([^"]+)"', program)
    assert any("FloorDiv" in text for text in texts)
    assert any("Mod" in text for text in texts)
    assert torch.equal(load_program(path).module()(*args), Shapes()(*args))

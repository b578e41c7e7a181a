"""ONNX files: external data stays in its folder, graphs come out valid and current."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compress.errors import ModelError
from compress.intake import IntakeOptions, take_in
from compress.model import TensorSpec
from compress.runtimes.onnxruntime import open_graph

Array = NDArray[np.float32]

RNG = np.random.default_rng(0)


def tensor(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(RNG.normal(size=shape).astype(np.float32), name)


def make_model(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto],
    shape: tuple[int | str | None, ...] = ("N", 3, 8, 8),
    opset: int = 17,
    domains: tuple[str, ...] = (),
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="someone")


def conv_model(opset: int = 17) -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "g", "s", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    weights = [tensor("w", 4, 3, 3, 3), tensor("b", 4), tensor("g", 4), tensor("s", 4), tensor("m", 4)]
    variance = numpy_helper.from_array(RNG.uniform(0.5, 1, 4).astype(np.float32), "v")
    return make_model(nodes, [*weights, variance], opset=opset)


def outputs_of(model: bytes, feed: Array) -> Array:
    with open_graph(model, threads=1) as session:
        return next(iter(session.run({"x": feed}).values())).astype(np.float32)


def write_external(folder: Path, change: Callable[[TensorProto], None] = lambda _: None) -> Path:
    model = conv_model()
    onnx.save_model(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=64)
    model = onnx.load_model(folder / "m.onnx", load_external_data=False)
    change(model.graph.initializer[0])
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def set_entry(key: str, value: str) -> Callable[[TensorProto], None]:
    def change(initializer: TensorProto) -> None:
        for entry in initializer.external_data:
            if entry.key == key:
                entry.value = value

    return change


def test_a_graph_is_normalised_and_keeps_its_outputs(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(conv_model().SerializeToString())
    intake = take_in(path, IntakeOptions())
    feed = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)
    wanted = outputs_of(path.read_bytes(), feed)
    np.testing.assert_allclose(outputs_of(intake.model.to_bytes(), feed), wanted, atol=1e-5)
    np.testing.assert_array_equal(intake.reference({"x": feed})["y"], wanted)
    assert [node.op_type for node in intake.model.graph.graph] == ["Conv", "Relu"]
    assert intake.kind == "onnx"
    assert intake.model.inputs == (TensorSpec("x", "float32", ("batch", 3, 8, 8)),)
    assert intake.model.outputs == (TensorSpec("y", "float32", ("batch", 4, 8, 8)),)
    assert intake.parameters == 4 * 27 + 4
    assert intake.bytes == path.stat().st_size
    assert intake.notes == ()


def test_normalising_twice_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(conv_model().SerializeToString())
    once = take_in(tmp_path / "a", IntakeOptions()).model.to_bytes()
    (tmp_path / "b").write_bytes(once)
    assert take_in(tmp_path / "b", IntakeOptions()).model.to_bytes() == once


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    path = write_external(tmp_path)
    intake = take_in(path, IntakeOptions())
    assert intake.parameters == 4 * 27 + 4
    assert intake.bytes == path.stat().st_size + (tmp_path / "m.data").stat().st_size
    assert intake.reference({"x": np.zeros((1, 3, 8, 8), np.float32)})["y"].shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("location", "../m.data", r"lies at `\.\./m\.data`, outside the model's folder"),
        ("location", "a/../../m.data", "outside the model's folder"),
        ("location", "/etc/passwd", "outside the model's folder"),
        ("location", "..\\m.data", "outside the model's folder"),
        ("location", "C:m.data", "outside the model's folder"),
        ("location", "", "outside the model's folder"),
        ("location", "absent.data", "is missing"),
        ("location", "link.data", "a link that leaves the model's folder"),
        ("location", "folder", "is missing"),
        ("offset", "-1", "has the offset `-1`"),
        ("offset", "9" * 30, "has the offset"),
        ("offset", "99999999", "ends at byte"),
        ("length", "999999", "ends at byte"),
        ("length", "4", r"has 4 bytes, its shape \[4, 3, 3, 3\] needs 432"),
    ],
)
def test_external_data_outside_its_bounds_is_refused(tmp_path: Path, key: str, value: str, message: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "folder").mkdir()
    path = write_external(folder, set_entry(key, value))
    (tmp_path / "m.data").write_bytes((folder / "m.data").read_bytes())
    (folder / "link.data").symlink_to(tmp_path / "m.data")
    with pytest.raises(ModelError, match=message) as caught:
        take_in(path, IntakeOptions())
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_external_data_beyond_protobufs_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_external(tmp_path)
    monkeypatch.setattr("compress.intake.external_data._MOST_BYTES", 100)
    with pytest.raises(ModelError, match="more than 2 GB"):
        take_in(path, IntakeOptions())


def test_external_data_in_a_node_attribute_is_checked_too(tmp_path: Path) -> None:
    value = tensor("k", 4)
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="/etc/passwd")
    nodes = [helper.make_node("Constant", [], ["k"], value=value), helper.make_node("Add", ["x", "k"], ["y"])]
    (tmp_path / "m").write_bytes(make_model(nodes, [], ("N", 4)).SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        take_in(tmp_path / "m", IntakeOptions())


def test_four_bit_external_data_is_measured_in_half_bytes(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.INT4, [3, 3], [1, 2, 3, -4, 5, 6, 7, -8, 1])
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "s")
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    model = make_model(nodes, [weight, scale], ("N", 3), opset=21)
    model.ir_version = 10
    onnx.save_model(model, tmp_path / "m", save_as_external_data=True, location="w.data", size_threshold=0)
    intake = take_in(tmp_path / "m", IntakeOptions())
    feed = np.eye(3, dtype=np.float32)
    assert outputs_of(intake.model.to_bytes(), feed).tolist() == [[0.5, 1, 1.5], [-2, 2.5, 3], [3.5, -4, 0.5]]
    assert "DequantizeLinear" in {node.op_type for node in intake.model.graph.graph}


def test_an_old_opset_is_converted_with_a_note(tmp_path: Path) -> None:
    model = conv_model(opset=11)
    (tmp_path / "m").write_bytes(model.SerializeToString())
    intake = take_in(tmp_path / "m", IntakeOptions())
    assert intake.model.graph.opset_imports[""] == 13
    assert intake.model.graph.ir_version == 10
    assert "converted from opset 11 to 13" in intake.notes[0]
    feed = RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)
    original = intake.reference({"x": feed})["y"].astype(np.float32)
    np.testing.assert_allclose(outputs_of(intake.model.to_bytes(), feed), original, atol=1e-5)


def test_an_opset_that_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Pad", ["x"], ["y"], paddings=[0] * 8)]
    model = make_model(nodes, [], opset=1)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 8, 8]))
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="has opset 1 and cannot be converted to 13"):
        take_in(tmp_path / "m", IntakeOptions())


def test_a_newer_opset_is_left(tmp_path: Path) -> None:
    model = conv_model(opset=23)
    model.ir_version = 11
    (tmp_path / "m").write_bytes(model.SerializeToString())
    intake = take_in(tmp_path / "m", IntakeOptions())
    assert intake.model.graph.opset_imports[""] == 23
    assert intake.model.graph.ir_version == 11


def test_functions_are_inlined(tmp_path: Path) -> None:
    function = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model = make_model([helper.make_node("Twice", ["x"], ["y"], domain="mine")], [], ("N", 2), domains=("mine",))
    model.functions.append(function)
    (tmp_path / "m").write_bytes(model.SerializeToString())
    intake = take_in(tmp_path / "m", IntakeOptions())
    assert [node.op_type for node in intake.model.graph.graph] == ["Add"]
    assert not intake.model.graph.functions
    assert outputs_of(intake.model.to_bytes(), np.array([[1, 2]], np.float32)).tolist() == [[2, 4]]


def test_operators_of_other_domains_stay_with_a_note(tmp_path: Path) -> None:
    nodes = [helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")]
    model = make_model(nodes, [], ("N", 2), domains=("com.microsoft",))
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="output `y` of m has no shape"):
        take_in(tmp_path / "m", IntakeOptions())
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2]))
    (tmp_path / "m").write_bytes(model.SerializeToString())
    assert "com.microsoft.FastGelu" in take_in(tmp_path / "m", IntakeOptions()).notes[0]


def test_initializers_that_are_inputs_become_constants(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 3, 3]))
    (tmp_path / "m").write_bytes(model.SerializeToString())
    assert [spec.name for spec in take_in(tmp_path / "m", IntakeOptions()).model.inputs] == ["x"]


def test_stale_shapes_in_the_file_are_not_believed(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.value_info.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, [9, 9]))
    (tmp_path / "m").write_bytes(model.SerializeToString())
    intake = take_in(tmp_path / "m", IntakeOptions())
    shapes = {node.op_type: str(node.outputs[0].shape) for node in intake.model.graph.graph}
    assert shapes["Conv"] == "[batch,4,8,8]"


def test_names_of_other_dynamic_axes_come_from_the_user_or_the_file(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    (tmp_path / "m").write_bytes(make_model(nodes, [], (None, "time", None)).SerializeToString())
    said = IntakeOptions(inputs=(TensorSpec("x", "float32", ("n", "steps", 7)),))
    assert take_in(tmp_path / "m", IntakeOptions()).model.inputs[0].shape == ("batch", "time", "x_dim2")
    assert take_in(tmp_path / "m", said).model.inputs[0].shape == ("batch", "steps", "x_dim2")


@pytest.mark.parametrize(
    "stated",
    [
        TensorSpec("z", "float32", ("batch", 3)),
        TensorSpec("x", "int64", ("batch", 3)),
        TensorSpec("x", "float32", ("batch", 4)),
        TensorSpec("x", "float32", ("batch", 3, 1)),
    ],
)
def test_what_the_user_says_of_inputs_may_not_contradict_the_file(tmp_path: Path, stated: TensorSpec) -> None:
    proto = make_model([helper.make_node("Relu", ["x"], ["y"])], [], (None, 3))
    (tmp_path / "m").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"m takes x: float32\[batch, 3\], and `.*` is stated") as caught:
        take_in(tmp_path / "m", IntakeOptions(inputs=(stated,)))
    assert "--input" in str(caught.value.hint)
    of_samples = IntakeOptions(inputs=(stated,), inputs_of_samples=True)
    assert take_in(tmp_path / "m", of_samples).model.inputs[0].shape == ("batch", 3)


def test_an_input_without_a_shape_takes_the_stated_one(tmp_path: Path) -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], [])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="does not say what its inputs are"):
        take_in(tmp_path / "m", IntakeOptions())
    spec = TensorSpec("x", "float32", ("batch", 3))
    assert take_in(tmp_path / "m", IntakeOptions(inputs=(spec,))).model.inputs == (spec,)


def test_a_fixed_batch_is_said(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(make_model([helper.make_node("Relu", ["x"], ["y"])], [], (4, 3)).SerializeToString())
    assert "fixed batch of 4" in take_in(tmp_path / "m", IntakeOptions()).notes[0]


def test_text_inputs_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["N"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="not a tensor of numbers"):
        take_in(tmp_path / "m", IntakeOptions())


def cut_short(tensor: TensorProto) -> None:
    tensor.raw_data = tensor.raw_data[:-4]


def to_typed(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0, 2.0])


def to_unknown(tensor: TensorProto) -> None:
    tensor.data_type = 99


def to_negative(tensor: TensorProto) -> None:
    tensor.dims[0] = -4


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut_short, r"tensor `w` has 428 bytes, its shape \[4, 3, 3, 3\] needs 432"),
        (to_typed, r"tensor `w` cannot be read: .*reshape"),
        (to_unknown, "tensor `w` has the element type 99, which ONNX does not know"),
        (to_negative, r"tensor `w` has the shape \[-4, 3, 3, 3\]"),
    ],
)
def test_a_tensor_that_nobody_could_read_is_refused(
    tmp_path: Path, harm: Callable[[TensorProto], None], message: str
) -> None:
    model = conv_model()
    harm(model.graph.initializer[0])
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=message):
        take_in(tmp_path / "m", IntakeOptions())


def test_a_size_of_minus_one_is_a_dynamic_one(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    (tmp_path / "m").write_bytes(model.SerializeToString())
    assert take_in(tmp_path / "m", IntakeOptions()).model.inputs[0].shape == ("batch", 3, 8, 8)


@pytest.mark.parametrize("size", [2**62, -7])
def test_sizes_that_no_device_takes_are_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "m").write_bytes(
        make_model([helper.make_node("Relu", ["x"], ["y"])], [], (1, size)).SerializeToString()
    )
    with pytest.raises(ModelError, match=rf"input `x` of m has the sizes \[1, {size}\], which no device takes"):
        take_in(tmp_path / "m", IntakeOptions())


def test_what_a_library_says_of_a_graph_that_it_cannot_infer_is_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = conv_model()
    model.graph.node[0].attribute.append(helper.make_attribute("strides", [0, 0]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 8, 8]))
    (tmp_path / "m").write_bytes(model.SerializeToString())
    assert take_in(tmp_path / "m", IntakeOptions()).model.outputs[0].name == "y"
    assert capfd.readouterr() == ("", "")


def test_an_invalid_graph_is_refused_with_the_checkers_reason(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(make_model([helper.make_node("Conv", ["x"], ["y"])], []).SerializeToString())
    with pytest.raises(ModelError, match=r"is not valid ONNX: .*Conv"):
        take_in(tmp_path / "m", IntakeOptions())


def test_contradicting_shapes_are_refused(tmp_path: Path) -> None:
    model = make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor("w", 5, 6)], ("N", 4))
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"is not valid ONNX: .*MatMul"):
        take_in(tmp_path / "m", IntakeOptions())


def test_batch_normalization_in_training_mode_is_refused(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    model.graph.node[1].output.extend(["rm", "rv"])
    (tmp_path / "m").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="exported in training mode"):
        take_in(tmp_path / "m", IntakeOptions())


def test_graphs_with_branches_keep_them(tmp_path: Path) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], [f"{name}_out"])], name, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["is_positive"]),
        helper.make_node("If", ["is_positive"], ["y"], then_branch=branch("t", "Relu"), else_branch=branch("e", "Neg")),
    ]
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    (tmp_path / "m").write_bytes(make_model(nodes, [zero], ("N", 2)).SerializeToString())
    model = take_in(tmp_path / "m", IntakeOptions()).model.to_bytes()
    assert outputs_of(model, np.array([[-1, -2]], np.float32)).tolist() == [[1, 2]]
    assert outputs_of(model, np.array([[-1, 2]], np.float32)).tolist() == [[0, 2]]

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
import torch
from cutting import all_cuts, assert_cut_equals_masked, run_all
from parsed_graphs import parse
from zoo import make_inputs, zoo_model

from compress.errors import ExitCode, PruneError
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.prepare import prepare
from compress.prune.surgery import cut, mask


def sizes(model: Model) -> dict[str, tuple[int, ...]]:
    constants = {name: value.const_value for name, value in model.graph.graph.initializers.items()}
    return {name: tuple(constant.shape.numpy()) for name, constant in constants.items() if constant is not None}


def test_weights_lose_rows_where_they_make_units_and_columns_where_they_read_them() -> None:
    model = zoo_model("resnet")
    before, after = sizes(model), sizes(cut(model, analyse(model), {"narrow.0": (0, 3, 15)}))
    assert {name: after[name] for name in after if after[name] != before[name]} == {
        "narrow.0.weight": (13, 8, 3, 3),
        "narrow.0.weight_bias": (13,),
        "body.0.weight": (16, 13, 3, 3),
    }


def test_what_is_kept_keeps_its_values_and_its_order() -> None:
    model = zoo_model("resnet")
    cuts = {"narrow.0": (0, 3, 15)}
    kept = np.setdiff1d(np.arange(16), cuts["narrow.0"])
    before = model.graph.graph.initializers["narrow.0.weight"].const_value
    after = cut(model, analyse(model), cuts).graph.graph.initializers["narrow.0.weight"].const_value
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after.numpy(), before.numpy()[kept])


def test_the_given_model_is_not_changed() -> None:
    model = zoo_model("lstm")
    before, coupling = model.to_bytes(), analyse(model)
    cut(model, coupling, all_cuts(coupling)[-1])
    mask(model, coupling, all_cuts(coupling)[-1])
    assert model.to_bytes() == before


def test_the_same_cut_gives_the_same_bytes() -> None:
    model = zoo_model("gpt")
    coupling = analyse(model)
    copies = [Model.from_bytes(model.to_bytes()) for _ in range(2)]
    first, second = (cut(copy, coupling, all_cuts(coupling)[-1]).to_bytes() for copy in copies)
    assert first == second


def test_no_cut_leaves_the_outputs_as_they_are() -> None:
    model = zoo_model("gru")
    feeds = [make_inputs("gru", 2, 5)]
    same = cut(model, analyse(model), {})
    np.testing.assert_allclose(run_all(same, feeds)[0]["y"], run_all(model, feeds)[0]["y"], rtol=1e-6)


def test_the_graph_tells_the_shapes_of_its_values_anew() -> None:
    model = zoo_model("resnet")
    smaller = cut(model, analyse(model), {"narrow.0": (0, 3, 15)})
    (value,) = [node.outputs[0] for node in smaller.graph.graph if node.name == "narrow.0"]
    assert value.shape is not None
    assert value.shape[1] == 13


def test_nodes_hold_new_sizes_in_attributes() -> None:
    gru, grouped = zoo_model("gru"), zoo_model("grouped")
    smaller = cut(gru, analyse(gru), {"GRU": (0, 1)})
    assert [n.attributes["hidden_size"].as_int() for n in smaller.graph.graph if n.op_type == "GRU"] == [4, 6]
    smaller = cut(grouped, analyse(grouped), {"widen": (0, 4)})
    groups = {
        node.name: node.attributes["group"].as_int() for node in smaller.graph.graph if "group" in node.attributes
    }
    assert groups["depthwise"] == 6
    assert groups["grouped"] == 4
    assert groups["up"] == 2


def test_a_shuffle_becomes_a_gather_only_where_it_is_cut() -> None:
    model = zoo_model("shufflenet")
    coupling = analyse(model)

    def operators(cuts: Mapping[str, tuple[int, ...]]) -> list[str]:
        return [node.op_type for node in cut(model, coupling, cuts).graph.graph]

    assert "Gather" not in operators({"stem": (0, 4, 8)})
    assert operators({"first": (0,)}).count("Gather") == 1
    assert operators({"halves.1": (0,)}).count("Gather") == 1


def test_an_initializer_that_only_cut_nodes_share_is_not_edited_in_place() -> None:
    text = """g (float[batch, 6] x) => (float[batch, 3] y) {
        h = MatMul (x, w) k = Reshape (h, s) a = Reshape (x, s) b = Relu (k) c = MatMul (b, v) d = MatMul (a, u)
        y = Add (c, d) }"""
    random = np.random.default_rng(0)
    shapes = {"w": (6, 6), "v": (6, 3), "u": (6, 3)}
    held = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    model = parse(text, opset=20, s=np.array([-1, 6], np.int64), **held)
    assert_cut_equals_masked(model, analyse(model), {"h": (1, 2)}, [{"x": torch.randn(2, 6)}])


def test_masked_weights_are_zero_and_keep_their_shapes() -> None:
    model = zoo_model("grouped")
    masked = mask(model, analyse(model), {"grouped": (0, 4, 8, 12), "stem": (0, 3, 6, 9)})
    assert sizes(masked) == sizes(prepare(model))
    kernel = masked.graph.graph.initializers["grouped.weight"].const_value
    assert kernel is not None
    array = kernel.numpy()
    assert not array[[0, 4, 8, 12]].any()
    assert not array[:, 0].any()
    assert (array[[1, 2, 3], 1:] != 0).all()


def test_what_is_divided_by_is_not_masked() -> None:
    text = "g (float[batch, 6] x) => (float[batch, 3] y) { h = MatMul (x, w) k = Div (h, c) y = MatMul (k, v) }"
    ones = {"w": np.ones((6, 4), np.float32), "c": np.full(4, 2, np.float32), "v": np.ones((4, 3), np.float32)}
    model = parse(text, opset=20, **ones)
    masked = mask(model, analyse(model), {"h": (0,)}).graph.graph.initializers
    divisor, kernel = masked["c"].const_value, masked["w"].const_value
    assert divisor is not None
    assert kernel is not None
    assert divisor.numpy().all()
    assert not kernel.numpy()[:, 0].any()


@pytest.mark.parametrize(
    ("cuts", "message", "hint"),
    [
        ({"stm.0": (0,)}, "the model has no group `stm.0`", "Did you mean `stem.0`"),
        ({"stem.0": (8,)}, "group `stem.0` has no unit 8", "0 to 7"),
        ({"stem.0": (-1,)}, "group `stem.0` has no unit -1", "0 to 7"),
        ({"stem.0": (1, 1)}, "group `stem.0`: a unit is named twice", "once"),
        ({"stem.0": tuple(range(8))}, "all 8 units of group `stem.0` would be cut", "at least one"),
    ],
)
def test_cuts_that_cannot_be_made_are_errors(cuts: dict[str, tuple[int, ...]], message: str, hint: str) -> None:
    model = zoo_model("resnet")
    for operation in (cut, mask):
        with pytest.raises(PruneError) as raised:
            operation(model, analyse(model), cuts)
        assert raised.value.message == message
        assert hint in str(raised.value.hint)
        assert raised.value.exit_code is ExitCode.USAGE


def test_unequal_numbers_in_blocks_are_an_error() -> None:
    model = zoo_model("grouped")
    with pytest.raises(PruneError) as raised:
        cut(model, analyse(model), {"stem": (0, 1, 3)})
    assert raised.value.message == "group `stem`: 2 units would be cut in one block and 0 in another"
    assert raised.value.hint == "cut as many in each of its 4 runs of 3 units"


def test_a_coupling_of_another_graph_is_an_error() -> None:
    coupling = analyse(zoo_model("rnet"))
    with pytest.raises(PruneError, match="group `conv1` of 8 units is not in this model"):
        cut(zoo_model("resnet"), coupling, {"conv1": (0,)})


def test_a_coupling_holds_when_only_weights_have_changed() -> None:
    model = zoo_model("resnet")
    trained = Model(model.copy_graph(), model.inputs, model.outputs)
    value = trained.graph.graph.initializers["head.weight"]
    assert value.const_value is not None
    value.const_value = ir.tensor(value.const_value.numpy() * 2, name=value.name)
    assert sizes(cut(trained, analyse(model), {"stem.0": (0,)}))["stem.0.weight"] == (7, 3, 7, 7)


def test_cuts_that_leave_nothing_of_a_value_are_an_error() -> None:
    text = """g (float[batch, 3, 6, 6] x) => (float[batch, 4, 6, 6] y) {
        h = Conv (x, w) k, l = Split <axis=1> (h, sizes) m = Relu (k) n = Sigmoid (l) o = Concat <axis=1> (m, n)
        y = Conv (o, v) }"""
    random = np.random.default_rng(0)
    shapes = {"w": (4, 3, 1, 1), "v": (4, 4, 1, 1)}
    held = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    model = parse(text, opset=20, sizes=np.array([1, 3], np.int64), **held)
    coupling = analyse(model)
    assert [group.units for group in coupling.groups] == [3]
    with pytest.raises(PruneError, match="all 3 units"):
        cut(model, coupling, {coupling.groups[0].name: (0, 1, 2)})
    wide = parse(text, opset=20, sizes=np.array([2, 2], np.int64), **held)
    coupling = analyse(wide)
    with pytest.raises(PruneError, match="these cuts leave nothing of `k`"):
        cut(wide, coupling, {"h": (0, 1)})

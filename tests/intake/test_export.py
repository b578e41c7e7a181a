"""PyTorch modules become graphs with a dynamic batch and readable names."""

import logging

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.intake.dimensions import name_dimensions
from compress.intake.export import Exported, example_inputs, export_module, rename_inputs
from compress.intake.simplify import simplify
from compress.intake.torch_reference import module_reference
from compress.model import Model, TensorSpec
from compress.quiet import first_reason, quiet
from compress.runtimes.onnxruntime import open_graph


class Scale(nn.Module):
    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        return x * 2 if factor is None else x * factor


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1).reshape(2, -1) if x.shape[0] == 2 else x.sum(1)


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else -x


class Eigen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eig(x)[0].real
        return values


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        hidden = self.embed(ids)
        hidden, _ = self.attend(hidden, hidden, hidden, key_padding_mask=mask == 0)
        return {"logits": self.head(hidden[:, 0]), "hidden": hidden}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        result: tuple[Tensor, tuple[Tensor, Tensor]] = self.lstm(x)
        return result


def x(*shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("x", dtype, shape)


def shapes(exported: Exported) -> dict[str, str]:
    graph = exported.graph.graph
    return {value.name or "": str(value.shape) for value in (*graph.inputs, *graph.outputs)}


def test_text_models_keep_both_dynamic_axes_and_the_keys_of_their_outputs() -> None:
    torch.manual_seed(0)
    text = Text().eval()
    specs = tuple(TensorSpec(name, "int64", ("batch", "seq")) for name in ("ids", "mask"))
    exported = export_module(text, specs, 20)
    assert shapes(exported) == {
        "ids": "[batch,seq]",
        "mask": "[batch,seq]",
        "logits": "[batch,3]",
        "hidden": "[batch,seq,8]",
    }
    simplify(exported.graph)
    feed = {"ids": np.array([[1, 2, 3, 4, 5]] * 3), "mask": np.array([[1, 1, 1, 0, 0]] * 3)}
    reference = module_reference(text, ("ids", "mask"), exported.output_names, by_name=True)
    with open_graph(Model.from_ir(exported.graph).to_bytes(), threads=1) as session:
        for name, found in session.run(feed).items():
            np.testing.assert_allclose(found.astype(np.float64), reference(feed)[name].astype(np.float64), atol=1e-5)


def test_recurrent_models_flatten_their_nested_outputs() -> None:
    torch.manual_seed(0)
    module = Recurrent().eval()
    exported = export_module(module, (x("batch", 5, 4),), 20)
    simplify(exported.graph)
    feed = {"x": np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)}
    wanted = module_reference(module, ("x",), exported.output_names, by_name=True)(feed)
    assert list(wanted) == ["output_0", "output_1", "output_2"]
    with open_graph(Model.from_ir(exported.graph).to_bytes(), threads=1) as session:
        for name, found in session.run(feed).items():
            np.testing.assert_allclose(found.astype(np.float64), wanted[name].astype(np.float64), atol=1e-5)


def test_inputs_are_matched_by_name_or_else_by_order() -> None:
    by_name = export_module(Scale(), (TensorSpec("factor", "float32", ("batch", 3)), x("batch", 3)), 20)
    assert (sorted(by_name.input_names), by_name.by_name) == (["factor", "x"], True)
    by_order = export_module(Scale(), (TensorSpec("pixels", "float32", ("batch", 3)),), 20)
    assert (by_order.input_names, by_order.by_name) == (("pixels",), False)
    assert shapes(by_order) == {"pixels": "[batch,3]", "output": "[batch,3]"}


def test_a_batch_that_cannot_vary_becomes_one_with_a_note() -> None:
    exported = export_module(FixedBatch(), (x("batch", 4),), 20)
    assert shapes(exported) == {"x": "[1,4]", "output": "[1]"}
    [note] = exported.notes
    assert note == (
        "The batch is fixed to 1, because the model does not export with a dynamic one: the model cannot be traced: "
        "You marked batch as dynamic but your code specialized it to be a constant (2)."
    )


def test_a_batch_that_the_user_fixed_is_only_noted() -> None:
    exported = export_module(Scale(), (x(4, 3),), 20)
    assert shapes(exported)["x"] == "[4,3]"
    assert "fixed batch of 4" in exported.notes[0]


@pytest.mark.parametrize(
    ("module", "spec", "message"),
    [
        (Undecided(), x("batch", 3), "cannot be traced: Could not guard on data-dependent expression"),
        (nn.Linear(4, 2), x("batch", 3), "cannot be traced: a and b must have same reduction dim"),
        (nn.Linear(4, 2), x(2, 3), "cannot be traced: a and b must have same reduction dim"),
        (Eigen(), x("batch", 3, 3), r"cannot be exported to ONNX: No ONNX function found for .*linalg_eig"),
        (nn.ReLU(), x("batch", dtype="float31"), "has dtype `float31`, which PyTorch does not know"),
    ],
)
def test_a_model_that_does_not_export_says_why_in_one_line_and_prints_nothing(
    module: nn.Module, spec: TensorSpec, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        export_module(module.eval(), (spec,), 20)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_another_number_of_inputs_than_described_is_refused() -> None:
    graph = ir.Model(ir.Graph([ir.Value(name="a")], [], nodes=[]), ir_version=10)
    with pytest.raises(ModelError, match="takes 1 inputs, but 2 are described: a, b"):
        rename_inputs(graph, ["a", "b"])


def test_examples_have_the_stated_sizes_and_types() -> None:
    examples = example_inputs((x("batch", "time", 5, dtype="int64"),))
    assert examples["x"].dtype == torch.int64
    assert list(examples["x"].shape) == [2, 64, 5]


def test_a_module_that_changes_its_number_of_outputs_is_noticed() -> None:
    reference = module_reference(Scale(), ("x",), ("a", "b"), by_name=True)
    with pytest.raises(ModelError, match="returned 1 tensors, its graph has 2 outputs"):
        reference({"x": np.zeros((1, 2), np.float32)})


def test_expressions_of_renamed_dimensions_follow() -> None:
    value = ir.Value(name="x", shape=ir.Shape(["s0", "s1", 3]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Relu", [value])
    node.outputs[0].shape = ir.Shape(["2*s0 + s1", None, 3])
    graph = ir.Model(ir.Graph([value], node.outputs, nodes=[node]), ir_version=10)
    name_dimensions(graph)
    assert str(value.shape) == "[batch,x_dim1,3]"
    assert node.outputs[0].shape is not None
    assert [str(size) for size in node.outputs[0].shape] == ["2*batch + x_dim1", "None", "3"]


def test_the_reason_is_the_root_cause_cut_to_a_line() -> None:
    outer = RuntimeError("around it")
    outer.__cause__ = ValueError("\n\n  the reason\nmore")
    assert first_reason(outer) == "the reason"
    assert first_reason(KeyError()) == "KeyError"
    assert len(first_reason(ValueError("x" * 1000))) == 300


def test_quiet_restores_logging_whatever_happens() -> None:
    def fail_quietly() -> None:
        with quiet():
            during.append(logging.root.manager.disable)
            raise ZeroDivisionError

    before, during = logging.root.manager.disable, list[int]()
    with pytest.raises(ZeroDivisionError):
        fail_quietly()
    assert (during, logging.root.manager.disable) == ([logging.CRITICAL], before)

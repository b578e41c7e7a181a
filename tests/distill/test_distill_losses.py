from typing import Any

import onnx_ir as ir
import pytest
import torch
from onnx import helper
from small_graphs import build, build_residual, normal
from torch.nn import functional

from compress.distill.choice import DistillSettings, choose_loss, output_kind
from compress.distill.features import AttentionLoss, FeatureLoss
from compress.distill.losses import CosineLoss, DivergenceLoss, ErrorLoss, Loss, SumLoss, TaskLoss
from compress.distill.pairing import Pair
from compress.errors import DataError, ModelError
from compress.model import Model


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def only(loss: Loss, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None = None) -> float:
    (term,) = loss({"y": student}, {"y": teacher}, labels).values()
    return float(term)


def test_divergence_is_pytorchs_own_at_a_temperature_times_its_square() -> None:
    student, teacher = pair(6, 5)
    expected = functional.kl_div(
        functional.log_softmax(student / 3, -1), functional.softmax(teacher / 3, -1), reduction="batchmean"
    )
    assert only(DivergenceLoss("y", 3.0), student, teacher) == pytest.approx(9 * float(expected), rel=1e-5)
    assert only(DivergenceLoss("y", 3.0), teacher, teacher) == pytest.approx(0, abs=1e-6)


def test_divergence_of_shares_is_that_of_their_logits() -> None:
    student, teacher = pair(6, 5)
    shares = only(DivergenceLoss("y", form="shares"), student.softmax(-1), teacher.softmax(-1))
    assert shares == pytest.approx(only(DivergenceLoss("y"), student, teacher), rel=1e-4)


def test_the_error_is_one_where_the_student_gives_the_teachers_mean() -> None:
    _, teacher = pair(64, 5)
    loss = ErrorLoss("y")
    loss.prepare({}, {"y": teacher})
    assert only(loss, teacher.mean().expand_as(teacher), teacher) == pytest.approx(1.0, rel=1e-5)
    constant = ErrorLoss("y", weight=2.0)
    constant.prepare({}, {"y": torch.ones(4, 5)})
    assert only(constant, torch.zeros(4, 5), torch.ones(4, 5)) == 2.0


def test_the_cosine_does_not_see_lengths() -> None:
    _, teacher = pair(6, 5)
    assert only(CosineLoss("y"), 3 * teacher, teacher) == pytest.approx(0, abs=1e-6)
    assert only(CosineLoss("y"), -teacher, teacher) == pytest.approx(2)


def test_the_task_loss_takes_class_numbers_and_floats() -> None:
    logits, wanted = pair(4, 3)
    labels = torch.tensor([0, 2, 1, 1], dtype=torch.uint8)
    expected = float(functional.cross_entropy(logits, labels.long()))
    assert only(TaskLoss("y"), logits, wanted, labels) == pytest.approx(expected)
    assert only(TaskLoss("y", form="shares"), logits.softmax(-1), wanted, labels) == pytest.approx(expected, rel=1e-5)
    assert only(TaskLoss("y"), logits, logits, wanted.double()) == pytest.approx(
        float((logits - wanted).square().mean())
    )
    assert SumLoss([ErrorLoss("y"), TaskLoss("y")]).needs_labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "a loss against labels needs labels"),
        (torch.tensor([0, 1, 3, 1]), r"the labels \(int64\[4\] from 0 to 3\) do not fit output `y` \[4, 3\]"),
        (torch.zeros(4, 2), r"the labels \(float32\[4, 2\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        only(TaskLoss("y"), *pair(4, 3), labels)


def test_the_sum_has_the_terms_of_all_and_prepares_all() -> None:
    student, teacher = pair(6, 5)
    loss = SumLoss([ErrorLoss("y"), CosineLoss("y")])
    loss.prepare({"y": student}, {"y": teacher})
    terms = loss({"y": student}, {"y": teacher}, None)
    assert sorted(terms) == ["cosine of y", "error of y"]
    with pytest.raises(NotImplementedError):
        Loss()({}, {}, None)


def test_a_feature_of_another_width_goes_through_a_learned_map_which_can_make_it_equal() -> None:
    generator = torch.Generator().manual_seed(0)
    narrow = torch.randn(16, 3, 4, 4, generator=generator)
    mixing = torch.randn(6, 3, generator=generator)
    wide = torch.einsum("oc,nchw->nohw", mixing, narrow)
    loss = FeatureLoss([Pair("s", "t")], weight=0.5)
    loss.prepare({"s": narrow}, {"t": wide})
    (learned,) = loss.maps.values()
    with torch.no_grad():
        learned.weight.copy_(mixing)  # type: ignore[operator]
        learned.bias.zero_()  # type: ignore[operator]
    (term,) = loss({"s": narrow}, {"t": wide}, None).values()
    assert float(term.detach()) == pytest.approx(0, abs=1e-9)
    assert len(list(loss.parameters())) == 2


@pytest.mark.parametrize("shapes", [((4, 7, 3), (4, 7, 5)), ((4, 3), (4, 5)), ((4, 3, 8, 8), (4, 5, 4, 4))])
def test_features_of_any_rank_and_of_other_sizes_are_compared(shapes: tuple[tuple[int, ...], ...]) -> None:
    student, teacher = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in shapes)
    loss = FeatureLoss([Pair("s", "t")])
    loss.prepare({"s": student}, {"t": teacher})
    terms = loss({"s": student}, {"t": teacher}, None)
    assert list(terms) == ["features s as t"]
    assert 0.3 < float(terms["features s as t"].detach()) < 3


def test_attention_maps_are_compared_head_by_head_or_in_the_mean() -> None:
    student, teacher = (scores.softmax(-1) for scores in pair(2, 4, 5, 5))
    loss = AttentionLoss([Pair("s", "t")])
    expected = (teacher * (teacher.log() - student.log())).sum(-1).mean()
    (term,) = loss({"s": student}, {"t": teacher}, None).values()
    assert float(term) == pytest.approx(float(expected), rel=1e-5)
    (mean,) = loss({"s": student[:, :2]}, {"t": teacher}, None).values()
    one, other = student[:, :2].mean(1), teacher.mean(1)
    assert float(mean) == pytest.approx(float((other * (other.log() - one.log())).sum(-1).mean()), rel=1e-5)


def ends_with(*nodes: tuple[str, dict[str, Any]], rank: int = 2) -> Model:
    """Return x [batch, 4] (or [batch, 3, 4]) → Gemm or MatMul → the given operators → y."""
    names = ["g", *(f"v{index}" for index in range(len(nodes) - 1)), "y"]
    made = [helper.make_node("MatMul", ["x", "w"], [names[0]], "matmul")]
    for index, (operator, attributes) in enumerate(nodes):
        inputs = [names[index], "b"] if operator == "Add" else [names[index]]
        made.append(helper.make_node(operator, inputs, [names[index + 1]], f"n{index}", **attributes))
    constants = {"w": normal(4, 5), "b": normal(5)} if "Add" in dict(nodes) else {"w": normal(4, 5)}
    return build(made, constants, ["batch", *([3] * (rank - 2)), 4], ["y"])


@pytest.mark.parametrize(
    ("model", "kind", "losses"),
    [
        (build_residual(), "logits", ["DivergenceLoss", "ErrorLoss"]),
        (ends_with(("Add", {})), "logits", ["DivergenceLoss", "ErrorLoss"]),
        (ends_with(("Softmax", {"axis": -1})), "shares", ["DivergenceLoss", "ErrorLoss"]),
        (ends_with(("Sigmoid", {})), "values", ["ErrorLoss"]),
        (ends_with(("Tanh", {})), "embedding", ["ErrorLoss", "CosineLoss"]),
        (ends_with(("Add", {}), rank=3), "embedding", ["ErrorLoss", "CosineLoss"]),
    ],
)
def test_the_loss_is_chosen_by_what_the_output_is(model: Model, kind: str, losses: list[str]) -> None:
    assert output_kind(model, model.outputs[0]) == kind
    chosen = choose_loss(model)
    assert isinstance(chosen, SumLoss)
    assert [type(part).__name__ for part in chosen.parts] == losses


def test_settings_name_the_loss_and_add_the_one_against_labels() -> None:
    model = build_residual()
    for name, expected in (("kl", "DivergenceLoss"), ("mse", "ErrorLoss"), ("cosine", "CosineLoss")):
        chosen = choose_loss(model, DistillSettings(loss=name, task_weight=0.5))  # type: ignore[arg-type]
        assert isinstance(chosen, SumLoss)
        assert [type(part).__name__ for part in chosen.parts] == [expected, "TaskLoss"]


def test_a_loss_that_no_output_takes_is_refused() -> None:
    model = ends_with(("Tanh", {}), rank=3)
    with pytest.raises(ModelError, match=r"no output is \[batch, classes\], but y: float32\[batch, 3, 5\]") as raised:
        choose_loss(model, DistillSettings(loss="kl"))
    assert raised.value.hint == 'choose loss = "auto"'
    graph = build([helper.make_node("Relu", ["x"], ["y"])], {}, [1, 3], ["y"]).copy_graph()
    graph.graph.outputs[0].dtype = ir.DataType.INT64
    with pytest.raises(ModelError, match="no output is a float"):
        choose_loss(Model.from_ir(graph))

from pathlib import Path

import pytest
from cutting import all_cuts
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import zoo_model

from compress.errors import ConfigError, ExitCode, PruneError
from compress.prune.coupling import analyse
from compress.prune.plan import Plan, PlannedCut, apply_plan, format_plan, make_plan, read_plan
from compress.prune.prepare import prepare
from compress.prune.surgery import cut

DIGEST = "0" * 64


def test_a_plan_that_was_stored_gives_the_same_graph(tmp_path: Path) -> None:
    model = zoo_model("squeeze-excite")
    coupling = analyse(model)
    cuts = all_cuts(coupling)[-1]
    path = tmp_path / "plan.json"
    path.write_text(format_plan(make_plan(coupling, cuts)), encoding="utf-8")
    assert apply_plan(model, read_plan(path)).to_bytes() == cut(model, coupling, cuts).to_bytes()


def test_a_plan_for_a_model_is_one_for_the_model_in_prepared_form() -> None:
    model = zoo_model("gru")
    plan = make_plan(analyse(model), {"GRU": (1,)})
    assert apply_plan(prepare(model), plan).to_bytes() == apply_plan(model, plan).to_bytes()


def test_a_plan_is_json_that_a_person_can_review() -> None:
    coupling = analyse(zoo_model("resnet"))
    assert format_plan(make_plan(coupling, {"stem.0": (1, 3), "body.0": (), "narrow.0": (9,)})) == (
        '{\n  "schema": "compress.prune-plan/1",\n'
        f'  "model": "{coupling.digest}",\n'
        '  "cuts": {\n    "stem.0": {"of": 8, "units": [1, 3]},\n    "narrow.0": {"of": 16, "units": [9]}\n  }\n}\n'
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.text(max_size=12), st.lists(st.integers(0, 50), min_size=1, max_size=5, unique=True), max_size=4)
)
def test_any_plan_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, cuts: dict[str, list[int]]
) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    plan = Plan(model=DIGEST, planned={name: PlannedCut(of=51, units=sorted(units)) for name, units in cuts.items()})
    path.write_text(format_plan(plan), encoding="utf-8")
    assert read_plan(path) == plan
    assert plan.cuts == {name: tuple(sorted(units)) for name, units in cuts.items()}


def test_a_plan_for_another_model_is_an_error() -> None:
    plan = make_plan(analyse(zoo_model("rnet")), {"conv1": (0,)})
    with pytest.raises(PruneError) as raised:
        apply_plan(zoo_model("resnet"), plan)
    assert raised.value.message.startswith(f"the plan is for another model: for {plan.model[:12]}…, this one is ")
    assert raised.value.hint == "make the plan anew from this model"
    assert raised.value.exit_code is ExitCode.USAGE


def test_a_plan_with_another_number_of_units_is_an_error() -> None:
    coupling = analyse(zoo_model("resnet"))
    plan = Plan(model=coupling.digest, planned={"stem.0": PlannedCut(of=9, units=[1])})
    with pytest.raises(PruneError, match=r"the plan says that group `stem.0` has 9 units, it has 8"):
        apply_plan(zoo_model("resnet"), plan)


def test_a_plan_with_an_unknown_group_is_an_error() -> None:
    coupling = analyse(zoo_model("resnet"))
    plan = Plan(model=coupling.digest, planned={"stem": PlannedCut(of=8, units=[1])})
    with pytest.raises(PruneError, match="the model has no group `stem`"):
        apply_plan(zoo_model("resnet"), plan)


def test_a_plan_cannot_be_made_of_units_that_are_not_there() -> None:
    with pytest.raises(PruneError, match=r"group `stem.0` has no unit 8"):
        make_plan(analyse(zoo_model("resnet")), {"stem.0": (8,)})


HEAD = f'{{"schema": "compress.prune-plan/1", "model": "{DIGEST}", "cuts": '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": ', "is not JSON (line 1, column 12): Expecting value"),
        ("[" * 100_000, "is not JSON that can be read: "),
        ("[]", "is not a plan: it holds no object"),
        ('{"schema": "compress.prune-plan/2"}', "`schema`: Input should be 'compress.prune-plan/1'"),
        ('{"schema": "compress.prune-plan/1", "cuts": {}}', "`model`: Field required"),
        (HEAD + '{"a": {"of": 3}}}', "`cuts.a.units`: Field required"),
        (HEAD + '{"a": {"of": 3, "units": ["1"]}}}', "`cuts.a.units.0`: Input should be a valid integer (got '1')"),
        (HEAD + '{"a": {"of": 3, "units": [-1]}}}', "`cuts.a.units.0`: Input should be greater than or equal to 0"),
        (HEAD + '{"a": {"of": 3, "units": []}}}', "`cuts.a.units`: List should have at least 1 item"),
        (HEAD + '{}, "more": 1}', "unknown key `more`"),
    ],
)
def test_a_file_that_is_no_plan_is_an_error_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        read_plan(path)
    assert raised.value.message.startswith(str(path))
    assert message in raised.value.message
    assert raised.value.hint


def test_a_plan_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(ConfigError, match="cannot read"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not text"):
        read_plan(tmp_path / "plan.json")

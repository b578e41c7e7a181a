import json
from pathlib import Path

import jsonschema
import pytest
from page_reports import NASTY, full_report
from published_schemas import read_sarif
from small_reports import cpu_target, jetson_target, report, unbuilt_target

from compress.errors import ExitCode
from compress.gate import RULE_KEYS, Policy, check_rules
from compress.report.record import Data, Report, VerdictRecord
from compress.report.sarif.places import Place, find_place
from compress.report.sarif.render import render_sarif
from compress.report.sarif.rules import RULES, find_rule
from compress.report.speed_record import FloatLayer

FAILED = VerdictRecord(status="fail", exit_code=ExitCode(10), reasons=("Too much was lost.",))


def render(record: Report, policy: Policy | None = None, place: Place | None = None, root: Path | None = None) -> str:
    outcomes = {target.target: check_rules(target, policy or Policy()) for target in record.targets}
    found = place or Place(Path("report.json"))
    return render_sarif(record, outcomes, version="1.2.3", locate=lambda rule: found, root=root or Path())


def test_what_is_not_a_pass_is_a_result_and_what_is_passed_is_none() -> None:
    run = read_sarif(render(report(cpu_target(), jetson_target(), unbuilt_target()), Policy(max_latency=0.001)))
    rules = [
        (one["properties"]["target"], one["ruleId"], one["level"])
        for one in run["results"]
        if "status" in one["properties"]
    ]
    assert rules == [
        ("cpu", "gate/latency", "error"),
        ("jetson-orin-nano", "gate/latency", "warning"),
        ("rtx-ada", "gate/engine", "error"),
    ]
    assert run["results"][0]["message"]["text"].startswith("cpu: The p99 latency is 4.00 ms")


def test_a_run_in_which_nothing_was_found_is_valid_too() -> None:
    target = cpu_target()
    assert target.latency is not None
    quiet = target.model_copy(update={"latency": target.latency.model_copy(update={"notes": ()})})
    whole = report(quiet)
    run = read_sarif(render(whole.model_copy(update={"source": whole.source.model_copy(update={"notes": ()})})))
    assert run["results"] == []
    assert run["tool"]["driver"]["rules"] == []
    assert run["invocations"][0]["exitCode"] == 0


def test_every_rule_that_is_used_says_what_to_do() -> None:
    run = read_sarif(render(full_report()[0], Policy(max_drop=0)))
    rules = run["tool"]["driver"]["rules"]
    assert (run["tool"]["driver"]["name"], run["tool"]["driver"]["version"]) == ("edge-compress", "1.2.3")
    for one in run["results"]:
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]
    assert all(rule["help"]["text"] and rule["shortDescription"]["text"] for rule in rules)
    assert len({rule["name"] for rule in (find_rule(name).describe(name) for name in RULES)}) == len(RULES)


def test_every_rule_of_the_gate_has_its_own_text() -> None:
    own = {name.removeprefix("gate/"): rule for name, rule in RULES.items() if name.startswith("gate/")}
    assert set(own) == {"engine", *RULE_KEYS}
    for name, key in RULE_KEYS.items():
        assert f"`{key}`" in own[name].checks
    later = find_rule("gate/some-new_rule")
    assert (later.name, later.checks) == ("SomeNewRule", "The policy's rule `some-new_rule` holds.")


def test_what_a_run_found_is_told_with_target_and_layer() -> None:
    whole, _ = full_report()
    target = whole.targets[0]
    layer = FloatLayer(name=NASTY, op="Conv", reason="not fused", seconds=0.001, share=0.25)
    left = FloatLayer(name="head", op="Gemm", reason="excluded", seconds=0.001, share=0.25)
    assert target.attribution is not None
    attribution = target.attribution.model_copy(update={"float_layers": (layer, left)})
    changed = target.model_copy(update={"attribution": attribution, "verdict": FAILED})
    data = Data(calibration=None, evaluation=None, notes=("calibrated on made-up samples",))
    run = read_sarif(render(whole.model_copy(update={"targets": (changed,), "data": data})))
    found = {one["ruleId"]: one for one in run["results"]}
    assert list(found) == ["lint/data", "lint/model", "lint/not-fused", "lint/noisy-layer", "lint/latency"]
    assert found["lint/data"]["message"]["text"] == "calibrated on made-up samples."
    fused = found["lint/not-fused"]
    assert fused["message"]["text"].endswith("the runtime computes it in float, which takes 25 % of the time.")
    assert fused["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == f"cpu::{NASTY}"


def test_a_passing_target_has_no_noisy_layers() -> None:
    rules = {one["ruleId"] for one in read_sarif(render(full_report()[0]))["results"]}
    assert "lint/noisy-layer" not in rules


def test_a_result_keeps_its_fingerprint_when_its_numbers_change() -> None:
    def prints(policy: Policy) -> list[str]:
        run = read_sarif(render(report(), policy))
        return [one["partialFingerprints"]["compressRule/v1"] for one in run["results"]]

    first, second = prints(Policy(max_size=1)), prints(Policy(max_size=2))
    assert first == second
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    ("path", "uri"),
    [("a b/gate#1.toml", "a%20b/gate%231.toml"), ("../elsewhere/gate.toml", "gate.toml")],
)
def test_paths_are_relative_uris(tmp_path: Path, path: str, uri: str) -> None:
    root = tmp_path / "checkout"
    run = read_sarif(render(report(), Policy(max_size=1), Place(root / path, 7), root))
    physical = run["results"][0]["locations"][0]["physicalLocation"]
    assert physical == {"artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 7}}


def test_the_schema_refuses_what_is_no_sarif() -> None:
    content = json.loads(render(report(), Policy(max_size=1)))
    content["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        read_sarif(json.dumps(content))


@pytest.mark.parametrize(
    ("text", "table", "key", "line"),
    [
        ("[gate]\nmax_drop = 1", "gate", "max_drop", 2),
        ('[data]\nmax_drop = 1\n[gate] # limits\n  "max_drop"=1', "gate", "max_drop", 4),
        ("gate.max_drop = 1", "gate", "max_drop", 1),
        ("# nothing\ngate = { max_drop = 1 }", "gate", "max_drop", 2),
        ("[recipe]\n[recipe.quantize]", "recipe.quantize", None, 2),
        ('[ recipe."weight-only" ]', "recipe.weight-only", None, 1),
        ("[gate]\nmax_size = 1", "gate", "max_drop", 1),
        ("[gates]\nmax_drop = 1", "gate", "max_drop", None),
    ],
)
def test_the_line_of_a_key_is_found(tmp_path: Path, text: str, table: str, key: str | None, line: int | None) -> None:
    path = tmp_path / "some.toml"
    path.write_text(text, encoding="utf-8")
    place = find_place([tmp_path / "absent.toml", path], table, key)
    assert (place and place.line) == line


def test_a_file_that_states_the_key_wins_over_one_that_has_the_table(tmp_path: Path) -> None:
    first, second = tmp_path / "compress.toml", tmp_path / "recipe.lock.toml"
    first.write_text("[gate]\nmax_size = 1\n", encoding="utf-8")
    second.write_text("[gate]\nrequire = 'simulated'\nmax_drop = 1\n", encoding="utf-8")
    assert find_place([first, second], "gate", "max_drop") == Place(second, 3)
    assert find_place([first, second], "gate", "max_latency") == Place(first, 1)

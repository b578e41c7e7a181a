import pytest
import xmlschema
from published_schemas import read_junit
from small_reports import cpu_target, jetson_target, unbuilt_target

from compress.errors import ExitCode
from compress.gate import Policy, RuleOutcome, check_rules
from compress.report.junit import render_junit

POLICY = Policy(max_drop=0.4, max_latency="1us", max_size="320KB", min_speedup=9)  # type: ignore[arg-type]


def test_every_outcome_of_a_rule_is_valid() -> None:
    targets = {
        f"{target.target} {number}": check_rules(target, policy)
        for target in (cpu_target(), jetson_target(), unbuilt_target())
        for number, policy in enumerate((POLICY, Policy(), Policy(max_drop=0)))
    }
    assert {rule.status for rules in targets.values() for rule in rules} == {
        "pass",
        "fail",
        "inconclusive",
        "unmeasured",
    }
    root = read_junit(render_junit("report.json", targets))
    assert len(root) == 9


def test_a_report_without_targets_and_names_that_are_not_xml_are_valid() -> None:
    read_junit(render_junit("report.json", {}))
    rule = RuleOutcome("accuracy", "fail", ExitCode.ACCURACY, 'the "<b>\x00&\x1b[31m"\nof ￿ 🎉')
    read_junit(render_junit("<report>&\x00", {"cpu]]>": [rule]}))


def test_the_schema_refuses_what_is_no_junit() -> None:
    text = render_junit("report.json", {"cpu": check_rules(cpu_target(), Policy())})
    for wrong in (text.replace(' name="accuracy"', ""), text.replace("system-out", "output")):
        with pytest.raises(xmlschema.XMLSchemaValidationError):
            read_junit(wrong)

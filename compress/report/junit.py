"""The verdict as JUnit XML: a suite for each target, a case for each rule of the policy.

A rule that is broken is a failure. One that nobody could measure, and a target without an engine, are errors; one that
too few samples left open is a failure of the type ``inconclusive``: what is not a pass never looks like one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol
from xml.etree import ElementTree as ET

from compress.report.record import Status

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may hold (section 2.2), whatever stands in a model's or a metric's name."""


class Outcome(Protocol):
    """What one rule says; the gate's ``RuleOutcome`` is one."""

    @property
    def rule(self) -> str:
        """Its name: ``accuracy``, ``size`` …."""
        ...

    @property
    def status(self) -> Status:
        """What came out."""
        ...

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        ...


def render_junit(title: str, targets: Mapping[str, Sequence[Outcome]]) -> str:
    """Return JUnit XML.

    Args:
        title: What was judged: the path of the report.
        targets: By target, the rules' outcomes.
    """
    root = ET.Element("testsuites", _counts([rule for rules in targets.values() for rule in rules]))
    root.set("name", _clean(title))
    for name, rules in targets.items():
        suite = ET.SubElement(root, "testsuite", {"name": _clean(name), **_counts(rules), "time": "0"})
        for rule in rules:
            # Readers group cases by class: the target is one.
            case = {"name": rule.rule, "classname": _clean(name), "time": "0"}
            _add_outcome(ET.SubElement(suite, "testcase", case), rule)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_outcome(case: ET.Element, rule: Outcome) -> None:
    reason = _clean(rule.reason)
    if rule.status == "pass":
        ET.SubElement(case, "system-out").text = reason
        return
    tag = "error" if _is_error(rule) else "failure"
    kind = rule.rule if rule.status == "fail" else rule.status
    ET.SubElement(case, tag, {"message": reason, "type": kind}).text = reason


def _counts(rules: Sequence[Outcome]) -> dict[str, str]:
    wrong = [rule for rule in rules if rule.status != "pass"]
    errors = sum(map(_is_error, wrong))
    return {"tests": str(len(rules)), "failures": str(len(wrong) - errors), "errors": str(errors)}


def _is_error(rule: Outcome) -> bool:
    return rule.status == "unmeasured" or rule.rule == "engine"


def _clean(text: str) -> str:
    return _NOT_XML.sub("�", text)

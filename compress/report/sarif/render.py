"""SARIF 2.1.0 from a report.

A rule that is broken is a result of level ``error``; one that too few samples left open, or that nobody measured, is a
``warning``. SARIF has the kind ``open`` for those, but demands level ``none`` for it, which readers hide: what is not a
pass must be seen.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", sections 3.13 to 3.52.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

from compress.report.junit import Outcome
from compress.report.record import Report
from compress.report.sarif.findings import Finding, Level, find_findings
from compress.report.sarif.places import Place
from compress.report.sarif.rules import GATE, find_rule

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT: Final = "%SRCROOT%"
"""What readers resolve paths against: the top of the checkout."""

Locate = Callable[[str], Place]
"""Where a rule, by its identifier, was written down."""


@dataclass(frozen=True, slots=True)
class _Result:
    rule: str
    level: Level
    message: str
    target: str
    layer: str = ""
    status: str = ""


def render_sarif(
    report: Report, targets: Mapping[str, Sequence[Outcome]], *, version: str, locate: Locate, root: Path
) -> str:
    """Return SARIF.

    Args:
        report: What was found.
        targets: By target, the rules' outcomes.
        version: Of this tool.
        locate: Gives the place of a rule.
        root: The folder that paths are relative to; a file outside it is named by its name alone.
    """
    results = [
        *(_of_rule(name, rule) for name, rules in targets.items() for rule in rules if rule.status != "pass"),
        *map(_of_finding, find_findings(report)),
    ]
    used = list(dict.fromkeys(result.rule for result in results))
    driver = {
        "name": "edge-compress",
        "version": version,
        "semanticVersion": version,
        "rules": [find_rule(identifier).describe(identifier) for identifier in used],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [_describe_invocation(report)],
        "results": [
            {**_describe(result), "ruleIndex": used.index(result.rule), "locations": [_locate(result, locate, root)]}
            for result in results
        ],
    }
    content = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _of_rule(target: str, rule: Outcome) -> _Result:
    level: Level = "error" if rule.status == "fail" else "warning"
    return _Result(GATE + rule.rule, level, rule.reason, target, status=rule.status)


def _of_finding(finding: Finding) -> _Result:
    return _Result(finding.rule, find_rule(finding.rule).level, finding.message, finding.target, finding.layer)


def _describe(result: _Result) -> dict[str, object]:
    # A result is the one of the run before if rule, target and layer are the same: its sentence has numbers that change
    # from run to run. Notes are told apart by their first words.
    about = result.layer or ("" if result.status else " ".join(result.message.split()[:3]))
    digest = sha256("\0".join((result.rule, result.target, about)).encode()).hexdigest()
    facts = {"target": result.target, "layer": result.layer, "status": result.status}
    return {
        "ruleId": result.rule,
        "level": result.level,
        "message": {"text": f"{result.target}: {result.message}" if result.target else result.message},
        "partialFingerprints": {"compressRule/v1": digest},
        "properties": {key: value for key, value in facts.items() if value},
    }


def _locate(result: _Result, locate: Locate, root: Path) -> dict[str, object]:
    place = locate(result.rule)
    physical: dict[str, object] = {"artifactLocation": {"uri": _make_uri(place.path, root), "uriBaseId": _ROOT}}
    if place.line is not None:
        physical["region"] = {"startLine": place.line}
    path = [name for name in (result.target, result.layer) if name]
    if not path:
        return {"physicalLocation": physical}
    kind = "layer" if result.layer else "target"
    logical = {"name": path[-1], "fullyQualifiedName": "::".join(path), "kind": kind}
    return {"physicalLocation": physical, "logicalLocations": [logical]}


def _describe_invocation(report: Report) -> dict[str, object]:
    stated = {} if report.command is None else {"commandLine": report.command}
    return {**stated, "executionSuccessful": True, "exitCode": report.verdict.exit_code}


def _make_uri(path: Path, root: Path) -> str:
    absolute, top = path.resolve(), root.resolve()
    return quote(absolute.relative_to(top).as_posix() if absolute.is_relative_to(top) else absolute.name)

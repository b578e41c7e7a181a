"""``compress gate REPORT``: judge a stored report again, under another policy."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.gate import RuleOutcome
    from compress.report.record import VerdictRecord

_FLAGS = ("max_drop", "max_latency", "max_size", "min_speedup", "require")


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser(
        "gate",
        help="judge a stored report under a policy",
        description="Judge a stored report under a policy, print every rule's outcome, exit with the verdict's code.",
    )
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or the folder it lies in")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="a TOML file with a [gate] table; flags win over it"
    )
    parser.add_argument("--max-drop", metavar="POINTS", help="accuracy that may be lost (default 1.0)")
    parser.add_argument("--max-latency", metavar="TIME", help="what the p99 may take: 8ms, 500us")
    parser.add_argument("--max-size", metavar="SIZE", help="what the engine may have: 5MB, 512KiB")
    parser.add_argument("--min-speedup", metavar="RATIO", help="least ratio to the original's median latency: 1.5")
    parser.add_argument("--require", metavar="simulated|measured", help="whether a simulated accuracy may decide")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")


def run(options: argparse.Namespace) -> int:
    """Judge the report, print what every rule says of every target, and return the exit code."""
    from compress.errors import ConfigError
    from compress.gate import Policy, check_rules, conclude, override_policy, read_policy, worst
    from compress.report.json_file import read_report

    policy = Policy() if options.policy is None else read_policy(options.policy)
    policy = override_policy(policy, {key: getattr(options, key) for key in _FLAGS})
    report = read_report(options.report)
    if not report.targets:
        raise ConfigError(
            f"{options.report} has no targets", hint="there is nothing to judge: run `compress run` again"
        )
    outcomes = [(target.target, check_rules(target, policy)) for target in report.targets]
    verdict = worst([conclude(rules) for _, rules in outcomes], [name for name, _ in outcomes])
    if options.json:
        _print_json(outcomes, verdict)
    else:
        _print_text(outcomes, verdict)
    return verdict.exit_code


def _print_text(outcomes: "list[tuple[str, tuple[RuleOutcome, ...]]]", verdict: "VerdictRecord") -> None:
    from compress.report.rows import name_outcome

    for target, rules in outcomes:
        print(target)
        for rule in rules:
            print(f"  {rule.rule:<9} {rule.status:<13} {rule.reason}")
    print(f"verdict: {name_outcome(verdict)} (exit code {verdict.exit_code})")


def _print_json(outcomes: "list[tuple[str, tuple[RuleOutcome, ...]]]", verdict: "VerdictRecord") -> None:
    targets = [
        {
            "target": target,
            "rules": [
                {"rule": rule.rule, "status": rule.status, "exit_code": int(rule.exit_code), "reason": rule.reason}
                for rule in rules
            ],
        }
        for target, rules in outcomes
    ]
    print(json.dumps({"targets": targets, "verdict": verdict.model_dump(mode="json")}, indent=2, ensure_ascii=False))

"""``compress gate REPORT``: judge a stored report again, by the policy of its run or by another one."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compress.cli.policy_flags import FLAGS, REGRESSION, add_policy_flags, given_limits

if TYPE_CHECKING:
    from compress.cli import Subparsers
    from compress.cli.judged import Demand
    from compress.gate import Outcomes, Policy, RuleOutcome
    from compress.report.record import Report, VerdictRecord

_DESCRIPTION = """\
Judge a stored report under a policy, print every rule's outcome, exit with the verdict's code. Nothing is run: the
report has what was measured, and the file beside it every sample's outcome. Without --policy it judges as the run did,
by the recipe.lock.toml beside the report; single flags replace single limits.
"""


def add_parser(commands: "Subparsers") -> None:
    """Add the command's flags."""
    parser = commands.add_parser("gate", help="judge a stored report under a policy", description=_DESCRIPTION)
    parser.add_argument("report", type=Path, metavar="REPORT", help="a report.json, or the folder it lies in")
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="a TOML file with a [gate] table (default: as the run did); flags win over it",
    )
    add_policy_flags(parser.add_argument_group("policy ([gate])"), FLAGS)
    regression = parser.add_argument_group("regression against an earlier report")
    regression.add_argument(
        "--baseline", type=Path, metavar="REPORT", help="the report of the engine that this one must not be worse than"
    )
    regression.add_argument("--allow-other-machine", action="store_true", help="compare latencies of two machines")
    add_policy_flags(regression, REGRESSION)
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")


def run(options: argparse.Namespace) -> int:
    """Judge the report, print what every rule says of every target, and return the exit code."""
    from compress.cli.judged import apply_policy, read_demand
    from compress.errors import ConfigError
    from compress.gate import conclude, override_policy, worst
    from compress.report.json_file import read_report

    demand, limits = read_demand(options.report, options.policy), given_limits(options, FLAGS | REGRESSION)
    policy = override_policy(demand.policy, limits)
    _check_flags(options)
    report = read_report(options.report)
    if not report.targets:
        raise ConfigError(
            f"{options.report} has no targets", hint="there is nothing to judge: run `compress run` again"
        )
    outcomes = apply_policy(report, options.report, policy, demand.place)
    if options.baseline is not None:
        outcomes = _add_regressions(outcomes, report, policy, options)
    verdict = worst([conclude(rules) for rules in outcomes.values()], list(outcomes))
    if options.json:
        _print_json(demand, limits, outcomes, verdict)
    else:
        _print_text(_name_policy(demand, limits), outcomes, verdict)
    return verdict.exit_code


def _name_policy(demand: "Demand", limits: Mapping[str, object]) -> str:
    """Return by what is judged: ``"that of the run (recipe.lock.toml), with --max-drop 0.3"``."""
    flags = ", ".join(f"--{key.replace('_', '-')} {value}" for key, value in limits.items())
    return f"{demand.describe()}, with {flags}" if flags else demand.describe()


def _check_flags(options: argparse.Namespace) -> None:
    from compress.errors import UsageError

    for name, value in (
        ("allow_other_machine", options.allow_other_machine),
        *given_limits(options, REGRESSION).items(),
    ):
        if value and options.baseline is None:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} means nothing without --baseline", hint=f"add --baseline REPORT, or leave {flag}")


def _add_regressions(
    outcomes: "Outcomes", report: "Report", policy: "Policy", options: argparse.Namespace
) -> "Outcomes":
    """Return the outcomes with those of both rules on regression behind them."""
    from compress.cli.judged import read_sides
    from compress.gate import correct_family
    from compress.gate.regression import check_regressions
    from compress.report.json_file import read_report

    before = read_sides(read_report(options.baseline), options.baseline)
    after = read_sides(report, options.report)
    other = options.allow_other_machine
    found = {
        name: check_regressions(before.get(name), after.get(name), policy, other_machine=other)
        for name in dict.fromkeys([*after, *before])
    }
    corrected = correct_family(found, policy.inconclusive)
    return {name: (*outcomes.get(name, ()), *rules) for name, rules in corrected.items()}


def _print_text(policy: str, outcomes: "Outcomes", verdict: "VerdictRecord") -> None:
    from compress.cli.console import SafeConsole
    from compress.report.rows import name_outcome
    from compress.report.rules_table import print_rules

    console = SafeConsole(highlight=False)
    console.print(f"policy: {policy}", markup=False, soft_wrap=True)
    console.print()
    for target, rules in outcomes.items():
        print_rules(target, rules, console)
    console.print(f"verdict: {name_outcome(verdict)} (exit code {verdict.exit_code})", markup=False, soft_wrap=True)


def _print_json(demand: "Demand", limits: Mapping[str, object], outcomes: "Outcomes", verdict: "VerdictRecord") -> None:
    found = {
        "policy": {
            "source": demand.source,
            "file": None if demand.file is None else str(demand.file),
            "flags": dict(limits),
        },
        "targets": [
            {"target": target, "rules": [_to_json(rule) for rule in rules]} for target, rules in outcomes.items()
        ],
        "verdict": verdict.model_dump(mode="json"),
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))


def _to_json(rule: "RuleOutcome") -> dict[str, object]:
    return {
        "rule": rule.rule,
        "status": rule.status,
        "exit_code": int(rule.exit_code),
        "limit": rule.limit,
        "measured": rule.measured,
        "interval": rule.interval,
        "unit": rule.unit,
        "reason": rule.reason,
    }

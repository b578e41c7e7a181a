"""The gate: a policy and what was measured give a verdict, every rule with its reason in a sentence.

A run without a policy is judged too: ``max_drop`` has a default, so a run whose accuracy nobody could measure is never
a pass.

Rules on regression against an earlier report are in :mod:`compress.gate.regression`, which is not imported here: it
compares reports, and a gate without a baseline must not wait for what that takes.
"""

from compress.gate.accuracy import accuracy_budget, misses_budget
from compress.gate.family import Outcomes, correct_family
from compress.gate.outcome import RULE_KEYS, RuleOutcome
from compress.gate.policy import DEFAULT_MAX_DROP_POINTS, Policy, make_policy, override_policy, read_policy
from compress.gate.verdict import best_record, check_rules, check_targets, conclude, judge, judge_targets, worst

__all__ = [
    "DEFAULT_MAX_DROP_POINTS",
    "RULE_KEYS",
    "Outcomes",
    "Policy",
    "RuleOutcome",
    "accuracy_budget",
    "best_record",
    "check_rules",
    "check_targets",
    "conclude",
    "correct_family",
    "judge",
    "judge_targets",
    "make_policy",
    "misses_budget",
    "override_policy",
    "read_policy",
    "worst",
]

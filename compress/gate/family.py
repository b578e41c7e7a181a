"""Several targets under one policy: a failure that one of so many shows by chance is none."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compress.errors import ExitCode
from compress.gate.outcome import MORE_SAMPLES, Finding, RuleName, RuleOutcome, Undecided
from compress.measure.statistics import hochberg_adjust

Outcomes = dict[str, tuple[RuleOutcome, ...]]
"""By target, what every rule says of it."""


def correct_family(outcomes: Mapping[str, Sequence[RuleOutcome]], undecided: Undecided) -> Outcomes:
    """Return the outcomes of every target's rules, failures corrected for the number of targets.

    The family is one rule over all targets. Passing needs no correction: every target must pass. A rule fails only
    where it still would with p-values that are corrected for the family (Hochberg's: the targets see the same samples
    and share the original, so their losses go together or are independent); else it is undecided.

    Args:
        outcomes: By target, what every rule says of it alone.
        undecided: What the policy makes of what is undecided.
    """
    corrected = {target: tuple(rules) for target, rules in outcomes.items()}
    if len(corrected) < 2:
        return corrected
    for rule in dict.fromkeys(outcome.rule for rules in corrected.values() for outcome in rules):
        for target, settled in _correct_rule(rule, corrected, undecided).items():
            corrected[target] = tuple(settled if each.rule == rule else each for each in corrected[target])
    return corrected


def _correct_rule(rule: RuleName, outcomes: Outcomes, undecided: Undecided) -> dict[str, RuleOutcome]:
    """Return the outcomes of a rule that change, by target."""
    tested: dict[str, tuple[Finding, float]] = {}
    for target, rules in outcomes.items():
        for finding in (each.finding for each in rules if each.rule == rule):
            p_value = None if finding is None else finding.exceeds_p_value()
            if finding is not None and p_value is not None:
                tested[target] = finding, p_value
    adjusted = hochberg_adjust([p_value for _, p_value in tested.values()])
    return {
        target: _reopen(finding, len(tested)).settle(undecided)
        for (target, (finding, _)), p_value in zip(tested.items(), adjusted, strict=True)
        if finding.decide() == "beyond" and p_value > (1 - finding.confidence) / 2
    }


def _reopen(finding: Finding, targets: int) -> Finding:
    """Return a finding that is beyond its limit as one that does not decide."""
    # The number of samples that a finding names is that of a question asked alone.
    more = MORE_SAMPLES if finding.failure == ExitCode.ACCURACY else finding.remedy
    remedy = f"one of {targets} targets looks so by chance too often (Hochberg's correction), {more}"
    return replace(finding, decision="open", placed="below" if finding.at_least else "beyond", remedy=remedy)

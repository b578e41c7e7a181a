"""``compress report REPORT --format plan``: what a run pruned, as a plan file to be reviewed, edited and replayed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from compress.report.record import Report


def render_plan(report: "Report", path: "Path", target: str | None) -> str:
    """Return the plan file of what a run pruned.

    Args:
        report: Of the run.
        path: Of the report, for messages.
        target: Whose plan; needed only where targets were pruned differently.

    Raises:
        ConfigError: Nothing was pruned, or the plan in the report is none.
        UsageError: No such target, or several plans to choose from.
    """
    from pydantic import ValidationError

    from compress.config import explain
    from compress.errors import ConfigError, UsageError, suggest
    from compress.prune.plan import Plan, format_plan

    names = [each.target for each in report.targets]
    if target is not None and target not in names:
        raise UsageError(f"{path} has no target {target}", hint=suggest(target, names))
    found = {
        each.target: step.metrics["plan"]
        for each in report.targets
        if target in (None, each.target)
        for step in (*report.steps, *each.steps)
        if "plan" in step.metrics
    }
    if not found:
        raise ConfigError(f"{path} has no plan: nothing was pruned", hint="`compress run --prune 50%macs` prunes")
    plan, *others = found.values()
    if any(other != plan for other in others):
        raise UsageError(
            f"{path} has a plan for each target: {', '.join(found)}", hint="choose one: --target " + next(iter(found))
        )
    try:
        return format_plan(Plan.model_validate(plan))
    except ValidationError as error:
        raise explain(error, f"{path}: plan", Plan) from error

"""The step ``prune``: units go, round by round, and what is left learns to give the original's outputs again."""

import logging
from contextlib import ExitStack
from pathlib import Path

from compress.distill.step import distill
from compress.latency_meter import LatencyMeter, Timing
from compress.model import Model
from compress.prune.amount import Amount
from compress.prune.costs import CostMeter, sample_sizes
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling, Cuts, Group
from compress.prune.importance import Evidence, Scores, score_groups
from compress.prune.judge import make_judge
from compress.prune.plan import apply_plan, read_plan
from compress.prune.prepare import prepare
from compress.prune.reconstruct import update_readers
from compress.prune.record import PruneRecord
from compress.prune.search import Goal, Search, choose_groups
from compress.prune.settings import PruneSettings
from compress.prune.surgery import cut
from compress.steps import StepContext, StepResult

__all__ = ["PruneSettings", "prune"]

log = logging.getLogger("compress")


def prune(model: Model, settings: PruneSettings, context: StepContext) -> StepResult:
    """Return the model with units cut away, trained to imitate the original; labels are not needed.

    Raises:
        PruneError: Nothing can be cut, the amount cannot be reached, or the plan is for another model.
        UsageError: Latency is the goal, and the target cannot be run here.
        CompressError: See :func:`compress.distill.imitation.imitate`.
    """
    judge = make_judge(
        context.original, context.calibration, settings.held_out_share, settings.samples,
        seed=context.seed, threads=context.threads,
    )  # fmt: skip
    record = PruneRecord(model, analyse(model), sample_sizes(model, context.calibration), judge)
    goal = settings.goal
    if goal is None:
        model = _replay(model, settings, context, record)
    else:
        model = _prune_in_rounds(model, goal, settings, context, record)
    return StepResult(model, record.describe(model, settings))


def _prune_in_rounds(
    model: Model, amount: Amount, settings: PruneSettings, context: StepContext, record: PruneRecord
) -> Model:
    """Return the model after all rounds; each removes the same share of what the one before has left."""
    meter = CostMeter(amount.quantity, sample_sizes(model, context.calibration))
    whole, units = meter.count(model), {group.name: group.units for group in record.coupling.groups}
    with ExitStack() as stack:
        latency = None
        if amount.quantity == "latency":
            timing = Timing(settings.latency_threads, settings.latency_batch, settings.latency_seconds)
            latency = stack.enter_context(LatencyMeter(model, timing, context))
        for number in range(1, settings.rounds + 1):
            share = 1 - (1 - amount.share) ** (number / settings.rounds)
            model = _cut(model, Goal(amount, share, meter, whole, latency, units), settings, context, record)
            model = _recover(model, settings, context, record, last=number == settings.rounds)
    return model


def _cut(model: Model, goal: Goal, settings: PruneSettings, context: StepContext, record: PruneRecord) -> Model:
    """Return the model with as little cut away as reaches the goal."""
    model = prepare(model)
    coupling = record.coupling if record.is_untouched else analyse(model)
    groups = choose_groups(coupling, settings.exclude)
    context.progress("choose cuts", 0, 2)
    scores = _score(model, groups, goal, settings, context)
    context.progress("choose cuts", 1, 2)
    found = Search(model, coupling, groups, goal, record.judge).find(scores, settings)
    context.progress("choose cuts", 2, 2)
    log.info("prune: %.1f %% of the %s removed", 100 * found.reached.removed, goal.amount.quantity)
    pruned = cut(model, coupling, found.reached.cuts)
    record.add_cuts(found.reached.cuts, found.reached.removed, found.finer)
    return _update(model, pruned, coupling, found.reached.cuts, settings, context)


def _replay(model: Model, settings: PruneSettings, context: StepContext, record: PruneRecord) -> Model:
    model = prepare(model)
    plan = read_plan(Path(str(settings.plan)))
    pruned = apply_plan(model, plan)
    record.add_cuts(plan.cuts, None, 1)
    pruned = _update(model, pruned, record.coupling, plan.cuts, settings, context)
    return _recover(pruned, settings, context, record, last=True)


def _update(
    model: Model, pruned: Model, coupling: Coupling, cuts: Cuts, settings: PruneSettings, context: StepContext
) -> Model:
    if settings.update == "none":
        return pruned
    return update_readers(
        model, pruned, coupling, cuts, context.calibration, threads=context.threads, seed=context.seed
    )


def _score(
    model: Model, groups: tuple[Group, ...], goal: Goal, settings: PruneSettings, context: StepContext
) -> dict[str, Scores]:
    evidence = Evidence(
        model, groups, context.original, context.calibration, settings.samples, context.seed, context.threads
    )
    related = goal.meter if settings.scaling == "cost" else CostMeter("params", goal.meter.sizes)
    return score_groups(
        evidence,
        settings.importance,
        aggregation=settings.aggregation,
        normalisation=settings.scaling,
        unit_costs=related.unit_costs(model, groups),
    )


def _recover(model: Model, settings: PruneSettings, context: StepContext, record: PruneRecord, *, last: bool) -> Model:
    """Return the model after the training of a round, where there is one."""
    record.add_fidelity("cut", model)
    if settings.steps and (settings.last_training or not last):
        trainings = settings.rounds if settings.last_training else settings.rounds - 1
        result = distill(
            model, settings.recovery(settings.time_budget_seconds / trainings, model, len(context.calibration)), context
        )
        record.add_training(result.metrics)
        model = result.model
    record.add_fidelity("after", model)
    return model

"""What the step ``prune`` did, in plain values."""

from collections.abc import Mapping

import numpy as np

from compress.batch_norm import fold_batch_norm
from compress.measure.cost import count_cost, sum_cost
from compress.model import JsonValue, Model
from compress.prune.groups import Coupling, Cuts
from compress.prune.judge import Judge
from compress.prune.plan import make_plan
from compress.prune.settings import PruneSettings

_SHOWN = 5
"""Largest cuts that are named."""


class PruneRecord:
    """Gathers what happens round by round; units are counted as they were before the first.

    Attributes:
        coupling: Of the model before the first round.
        judge: Measures fidelity on held-out samples.
        is_untouched: Whether nothing has been cut yet.
    """

    def __init__(self, baseline: Model, coupling: Coupling, sizes: Mapping[str, int], judge: Judge) -> None:
        self.coupling, self.judge = coupling, judge
        self._before, self._sizes = baseline, sizes
        self._left = {group.name: np.arange(group.units) for group in coupling.groups}
        self._metrics: dict[str, JsonValue] = {}

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has been cut yet."""
        return "removed" not in self._metrics

    def add_cuts(self, cuts: Cuts, removed: float | None, finer: int) -> None:
        """Take in the cuts of a round, in units that were left before it."""
        for name, units in cuts.items():
            self._left[name] = np.delete(self._left[name], list(units))
        self._metrics["removed"] = removed
        if finer > 1:
            self._metrics["multiples_divided_by"] = finer

    def add_fidelity(self, when: str, model: Model) -> None:
        """Measure a model on the held-out samples; of several rounds, the last counts."""
        found = self.judge.fidelity(model)
        self._metrics[f"sqnr_db_{when}"] = found.sqnr_db
        self._metrics[f"agreement_{when}"] = found.agreement
        self._metrics["held_out_samples"] = found.samples

    def describe(self, result: Model, settings: PruneSettings) -> dict[str, JsonValue]:
        """Return everything in plain values; ``removed`` and fidelities are fractions and dB, costs are of one sample.

        ``plan`` has the cuts of all rounds together, in the form of a plan file.
        """
        gone = {g.name: np.setdiff1d(np.arange(g.units), self._left[g.name]) for g in self.coupling.groups}
        cuts = {name: tuple(units.tolist()) for name, units in gone.items() if units.size}
        plan: JsonValue = make_plan(self.coupling, cuts).model_dump(mode="json", by_alias=True)
        return {
            "amount": settings.amount,
            **self._costs("before", self._before),
            **self._costs("after", result),
            "groups": len(self.coupling.groups),
            "groups_cut": len(cuts),
            "largest_cuts": self._largest(cuts),
            **self._metrics,
            "plan": plan,
        }

    def _costs(self, when: str, model: Model) -> dict[str, JsonValue]:
        totals = sum_cost(count_cost(fold_batch_norm(model), sizes=self._sizes))
        return {
            f"macs_{when}": totals.macs,
            f"parameters_{when}": totals.parameters,
            f"weight_bytes_{when}": totals.weight_bytes,
        }

    def _largest(self, cuts: Cuts) -> str:
        """Return the cuts that take the largest shares of their groups, in words."""
        units = {group.name: group.units for group in self.coupling.groups}
        ordered = sorted(cuts, key=lambda name: (-len(cuts[name]) / units[name], name))
        return "; ".join(f"{name}: {len(cuts[name])} of {units[name]}" for name in ordered[:_SHOWN])

    def add_training(self, metrics: Mapping[str, JsonValue]) -> None:
        """Take in what a training says of itself; steps add up, the last reason to stop counts."""
        steps, before = metrics.get("steps", 0), self._metrics.get("training_steps", 0)
        self._metrics["training_steps"] = int(str(steps)) + int(str(before))
        self._metrics["stopped"] = metrics.get("stopped")
        if "problem" in metrics:
            self._metrics["problem"] = metrics["problem"]

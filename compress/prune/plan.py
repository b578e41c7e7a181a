"""Plans of cuts as files: which units of which groups of one model, to be stored, reviewed and replayed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.config import explain, read_json
from compress.errors import ConfigError, PruneError
from compress.model import Model
from compress.prune.coupling import analyse
from compress.prune.groups import Coupling, Cuts
from compress.prune.surgery import check_cuts, cut

SCHEMA: Final = "compress.prune-plan/1"


class PlannedCut(BaseModel):
    """What is cut from one group.

    Attributes:
        of: How many units the group has.
        units: Those that go, ascending, counted from 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    of: Annotated[int, Field(ge=1)]
    units: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Plan(BaseModel):
    """Cuts of one model.

    Attributes:
        format: Which schema the file has; ``schema`` in JSON.
        model: Digest of the model that the cuts are for (SHA-256, hexadecimal), in the form that pruning works on.
        planned: By the name of the group; ``cuts`` in JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    format: Annotated[Literal["compress.prune-plan/1"], Field(alias="schema")] = SCHEMA
    model: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    planned: Annotated[dict[str, PlannedCut], Field(alias="cuts")]

    @property
    def cuts(self) -> Cuts:
        """The units by the name of their group."""
        return {name: tuple(planned.units) for name, planned in self.planned.items()}


def make_plan(coupling: Coupling, cuts: Cuts) -> Plan:
    """Return the plan of some cuts; groups that lose nothing are left out.

    Raises:
        PruneError: The coupling has no group of that name.
    """
    check_cuts(coupling, cuts)
    sizes = {group.name: group.units for group in coupling.groups}
    planned = {
        name: PlannedCut(of=sizes[name], units=sorted(int(unit) for unit in units))
        for name, units in cuts.items()
        if len(units)
    }
    return Plan(model=coupling.digest, planned=planned)


def format_plan(plan: Plan) -> str:
    """Return the content of a plan file: JSON, one group a line."""
    groups = [
        f"    {json.dumps(name, ensure_ascii=False)}: {json.dumps(planned.model_dump())}"
        for name, planned in plan.planned.items()
    ]
    body = "{\n" + ",\n".join(groups) + "\n  }" if groups else "{}"
    return f'{{\n  "schema": {json.dumps(plan.format)},\n  "model": {json.dumps(plan.model)},\n  "cuts": {body}\n}}\n'


def read_plan(path: Path) -> Plan:
    """Return the plan in a file.

    Raises:
        ConfigError: No such file, not JSON (the message has the line), or not a plan (it has the key).
    """
    found = read_json(path, hint="mend the place that the message names")
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"{path} is not a plan: it holds no object", hint=f'a plan starts with {{"schema": "{SCHEMA}"'
        )
    try:
        return Plan.model_validate(found)
    except ValidationError as error:
        raise explain(error, str(path), Plan) from None


def apply_plan(model: Model, plan: Plan) -> Model:
    """Return the model without what a plan cuts.

    Raises:
        PruneError: The plan is for another model, or cuts what cannot be cut.
    """
    coupling = analyse(model)
    if coupling.digest != plan.model:
        raise PruneError(
            f"the plan is for another model: for {plan.model[:12]}…, this one is {coupling.digest[:12]}…",
            hint="make the plan anew from this model",
        )
    sizes = {group.name: group.units for group in coupling.groups}
    for name, planned in plan.planned.items():
        if name in sizes and sizes[name] != planned.of:
            raise PruneError(
                f"the plan says that group `{name}` has {planned.of} units, it has {sizes[name]}",
                hint="make the plan anew from this model",
            )
    return cut(model, coupling, plan.cuts)

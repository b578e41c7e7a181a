"""What every part of the report has in common."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

ADDED_LATER: Final = "added later"
"""Marks a field that older reports of the same schema do not have: ``Annotated[…, ADDED_LATER]``, with a default."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e100, le=1e100)]
"""Products and ratios of two such numbers are finite."""
NotNegative = Annotated[float, Field(ge=0, le=1e100)]
Positive = Annotated[float, Field(ge=1e-100, le=1e100)]
"""A ratio, or seconds of a call: what logarithms are taken of."""
Count = Annotated[int, Field(ge=0, lt=2**63)]
"""Samples, bytes, operations."""


def _allow_older_reports(schema: dict[str, Any], record: type[BaseModel]) -> None:
    """Take the fields that were added later out of the required ones: a reader must accept both."""
    later = {name for name, field in record.model_fields.items() if ADDED_LATER in field.metadata}
    if later:
        schema["required"] = [name for name in schema["required"] if name not in later]


class Record(BaseModel):
    """Immutable, no unknown keys, finite numbers only."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
        json_schema_extra=_allow_older_reports,
    )

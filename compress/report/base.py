"""What every part of the report has in common."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

ADDED_LATER: Final = "added later"
"""Marks a field that older reports of the same schema do not have: ``Annotated[…, ADDED_LATER]``, with a default."""


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

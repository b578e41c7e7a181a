"""What every part of the report has in common."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Immutable, no unknown keys, finite numbers only."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )

"""What all schemas are built from."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Whole numbers are written without a decimal point.
Number = int | float


RunId = Annotated[
    str,
    Field(
        description="From nnunet_runs.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=120,
    ),
]


# What hosts send for an argument that a model left out: some fill in null, some its text, some a list of that.
LEFT_OUT = (None, "null", [None], ["null"])


class Request(BaseModel):
    """Base of all requests: an argument that does not exist is refused, not ignored; null is as if left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if name not in cls.model_fields or value not in LEFT_OUT}


class Record(BaseModel):
    """Base of everything on disk: readers accept fields that a newer version added."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="null")


def unknown(value: object) -> bool:
    """For `exclude_if`: an answer leaves the field out where nothing is known."""
    return value is None

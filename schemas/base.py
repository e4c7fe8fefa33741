"""What all schemas are built from."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Whole numbers are written without a decimal point.
Number = int | float


RunId = Annotated[
    str,
    Field(
        description="The run, e.g. d004-3d_fullres-f0-k7m3. nnunet_runs lists them.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=120,
    ),
]


class Request(BaseModel):
    """Base of all requests: an argument that does not exist is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(BaseModel):
    """Base of everything on disk: readers accept fields that a newer version added."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="null")

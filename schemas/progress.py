"""The progress of a run: request and answer."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from .base import Record, Request, RunId, unknown
from .records import Failure, Status

# "end", or a number of finished epochs; a text in the schema, because clients read one type best.
Until = Annotated[Literal["end"] | Annotated[int, Field(ge=1, le=1_000_000)], WithJsonSchema({"type": "string"})]


# Of a live training by its numbers; "waiting" is queued, "ended" at rest without a result, "poor" a result to doubt.
HealthVerdict = Literal[
    "starting",
    "ok",
    "slow",
    "starved",
    "stalled",
    "plateau",
    "overfitting",
    "class_missing",
    "collapsed",
    "diverging",
    "nan",
    "waiting",
    "ended",
    "poor",
]


class StageLine(Record):
    """A stage of a run."""

    name: str
    status: Status
    detail: str = ""


class Health(Record):
    """What the run's own numbers say about it."""

    verdict: HealthVerdict
    detail: str


class Eta(Record):
    """The range of eta_s, the local time of the end, and what they rest on."""

    low_s: int
    high_s: int
    at: str
    basis: str


class ProgressAnswer(Record):
    """How a run is doing; at most 1,200 characters of JSON."""

    run_id: str
    status: Status
    stage: str | None
    phase: str | None
    percent: float
    elapsed_s: int
    eta_s: int | None = Field(description="Seconds until the run ends, validation and all folds included.")
    eta: Eta | None = Field(default=None, exclude_if=unknown)
    epoch: int | None = Field(description="Epochs finished in this stage.")
    epochs: int | None
    epoch_s: float | None
    wait: float | None = Field(description="Share of the last epoch spent waiting for data, 0-1.")
    train_loss: float | None
    val_loss: float | None
    pseudo_dice: float | None = Field(description="nnU-Net's estimate on random patches; not the Dice.")
    learning_rate: float | None
    dice: float | None = Field(default=None, exclude_if=unknown)
    health: Health
    failure: Failure | None = None
    retry_after_s: int
    next_step: str


class ProgressRequest(Request):
    """Ask how a run is doing."""

    run_id: RunId
    wait_s: float = Field(
        default=0,
        ge=0,
        le=50,
        description="Seconds to wait, up to 50, for any news.",
    )
    until: Until | None = Field(
        default=None,
        description="end, or an epoch, to wait for. Omitted: any news.",
    )

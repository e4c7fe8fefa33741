"""Runs: the list of runs, and the answers to starting and stopping one."""

from typing import Annotated

from pydantic import Field

from .base import Record, Request, RunId, unknown
from .progress import StageLine
from .records import QueueAction, Status
from .training import DatasetId


class RunLine(Record):
    """One run in a list."""

    run_id: str
    status: Status
    external: bool = Field(default=False, description="Started by hand with nnUNetv2_train; read-only here.")
    dataset: str
    configuration: str | None = Field(default=None, exclude_if=unknown)
    fold: str | None = Field(default=None, description="Of a training.", exclude_if=unknown)
    kind: str | None = Field(default=None, description="Of a run that trains nothing.", exclude_if=unknown)
    trainer: str | None = Field(default=None, exclude_if=unknown)
    plans: str | None = Field(default=None, description="Where they are not nnUNetPlans.", exclude_if=unknown)
    note: str | None = Field(default=None, description="Why it was started.", exclude_if=unknown)
    started: str = Field(description="UTC, ISO 8601.")
    ended: str | None = Field(default=None, exclude_if=unknown)
    continues: str | None = Field(default=None, description="Whose checkpoint it resumed.", exclude_if=unknown)
    stage: str | None
    epoch: str | None = Field(description='Finished and planned epochs of the present stage, e.g. "12/1000".')
    train_loss: float | None = Field(default=None, description="Of the last epoch.", exclude_if=unknown)
    val_loss: float | None = Field(default=None, exclude_if=unknown)
    pseudo_dice: float | None = Field(default=None, exclude_if=unknown)
    eta_s: int | None = Field(default=None, exclude_if=unknown)
    dice: float | None
    problem: str | None = Field(default=None, description="Why it failed, or what is wrong.", exclude_if=unknown)
    detail: str = ""


class RunsAnswer(Record):
    """Runs, newest first."""

    runs: tuple[RunLine, ...]
    shown: int
    total: int = Field(description="Runs that match the filters, including those not shown.")
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


class CancelAnswer(Record):
    """The run's status after the request to stop."""

    run_id: str
    status: Status
    detail: str
    retry_after_s: int
    next_step: str


class RunStarted(Record):
    """The answer of a tool that starts a run of its own kind: the run goes on by itself."""

    run_id: str
    status: Status
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


class TrainingStarted(Record):
    """The answer of nnunet_training: the run goes on by itself."""

    run_id: str
    status: Status
    dataset_id: int
    dataset_name: str
    configuration: str
    fold: str
    device: str
    device_reason: str = Field(default="", description="Why it trains there.")
    stages: tuple[StageLine, ...]
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


class RunsRequest(Request):
    """List runs, newest first."""

    dataset_id: DatasetId | None = Field(default=None, description="Omitted: all.")
    status: Status | None = Field(default=None, description="Omitted: all.")
    search: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="Text in note or names. Omitted: all."
    )
    limit: int = Field(default=20, ge=1, le=200, description="At most.")


class QueueAnswer(Record):
    """What has become of a run that waits."""

    run_id: str
    status: Status
    detail: str
    retry_after_s: int
    next_step: str


class QueueRequest(Request):
    """Change the place of a run that waits."""

    run_id: RunId
    action: QueueAction = Field(description="front: before all others. hold: until release.")


class CancelRequest(Request):
    """Stop a run."""

    run_id: RunId
    force: bool = Field(
        default=False,
        description="End it at once, without saving.",
    )
    wait_s: float = Field(default=0, ge=0, le=50, description="Seconds to wait for its end, up to 50.")

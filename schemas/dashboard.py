"""What the dashboard shows. Its parts have no strict schema in the tool's output: only its own page reads them."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from .base import Record, Request, RunId
from .progress import ProgressAnswer
from .records import ClassMetrics, Metrics, QueueAction, Status
from .run_list import RunLine, RunsRequest

_OBJECT: dict[str, Any] = {"type": "object"}


class DashboardRequest(Request):
    """Ask for the dashboard."""

    run_id: RunId | None = Field(default=None, description="Omitted: the newest.")


class DashboardDataRequest(DashboardRequest, RunsRequest):
    """What the page draws: one run, the runs that its filters leave, and each class where it asks for them."""

    limit: int = Field(default=10, ge=1, le=2000, description="Runs at most.")
    classes: bool = Field(default=False, description="Also the pseudo Dice of each class.")


class DashboardAnswer(Record):
    """The dashboard in words; at most 1,500 characters of JSON."""

    run_id: str | None
    text: str
    retry_after_s: int
    next_step: str


class RunFacts(Record):
    """What was asked for."""

    run_id: str
    dataset: str
    configuration: str
    fold: str
    trainer: str
    device: str
    started: str


class StageFacts(Record):
    """A stage and how long it has taken."""

    name: str
    status: Status
    trains: bool
    reused: bool
    seconds: int | None


class Curves(Record):
    """The epochs of a stage as columns; of a long history only some epochs, always with the last one."""

    stage: str
    epochs: int | None = Field(description="Planned.")
    every: int = Field(description="Distance of the epochs shown.")
    epoch: tuple[int, ...] = Field(description="Epochs finished, from 1.")
    train_loss: tuple[float | None, ...]
    val_loss: tuple[float | None, ...]
    pseudo_dice: tuple[float | None, ...]
    ema_pseudo_dice: tuple[float | None, ...]
    classes: dict[str, tuple[float | None, ...]] = Field(default={}, description="Pseudo Dice of each.")


class Resume(Record):
    """How to go on with a stopped run, as the page asks the person."""

    arguments: dict[str, Any] = Field(description="Of nnunet_training.")
    meaning: str


class FoldScore(Record):
    """A fold; what is not measured yet is null."""

    fold: str
    dice: float | None
    iou: float | None
    validation_loss: float | None
    cases: int
    reused: bool
    worst_cases: "tuple[CaseScore, ...]" = Field(description="Of one among several folds.")


class CaseScore(Record):
    """A validation case."""

    case: str
    dice: float | None


class Scores(Record):
    """What the validation measured, shortened to what fits on a page."""

    metrics: Metrics
    dice_mean_sd: str | None
    folds: tuple[FoldScore, ...]
    classes: tuple[ClassMetrics, ...]
    classes_left_out: int
    worst_cases: tuple[CaseScore, ...] = Field(description="Where there are not several folds.")
    model_path: str | None
    notes: tuple[str, ...]


class Selected(Record):
    """The run that the page shows."""

    facts: RunFacts
    progress: ProgressAnswer
    stages: tuple[StageFacts, ...]
    curves: tuple[Curves, ...]
    scores: Scores
    can_cancel: bool
    queue: tuple[QueueAction, ...] = Field(description="What may be done about its place, while all of it waits.")
    resume: Resume | None


class DashboardData(Record):
    """Everything the page draws; at most 30 kB of JSON."""

    runs: Annotated[tuple[RunLine, ...], WithJsonSchema({"type": "array", "items": _OBJECT})]
    total: int
    datasets: tuple[int, ...] = Field(description="Ids of the datasets that have runs.")
    run: Annotated[Selected | None, WithJsonSchema({"anyOf": [_OBJECT, {"type": "null"}]})]
    retry_after_s: int
    next_step: str

"""How a training is asked for over MCP, and the answer."""

from pydantic import Field

from .base import Record, RunId
from .progress import StageLine
from .records import Status
from .training import TrainingRequest


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


class TrainingCall(TrainingRequest):
    """A training as it is asked for: its parameters, or those of an earlier one."""

    like: RunId | None = Field(
        default=None,
        description="Run to repeat: its arguments count where none is given here. Omitted: the defaults.",
    )

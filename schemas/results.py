"""The result of a run: the request, and what `nnunet_results` and the Python function return."""

from pydantic import Field

from .base import Record, Request, RunId
from .records import BestConfiguration, CaseMetrics, ClassMetrics, Failure, Metrics, Status


class ResultsRequest(Request):
    """Ask for a run's result."""

    run_id: RunId


class FoldResult(Record):
    """One fold of the configuration that was asked for."""

    fold: str
    dice: float | None
    iou: float | None
    validation_loss: float | None = Field(description="Validation loss of the last epoch, on random patches.")
    cases: int = Field(description="Validation cases measured.")
    model_path: str | None
    reused: bool = Field(description="Trained by an earlier run.")


class Result(Record):
    """The result of a run: nnU-Net's own numbers, or null until there are any."""

    run_id: str
    status: Status
    model_path: str | None = Field(description="The folder of the trained fold, or of all folds.")
    dataset_id: int
    dataset_name: str
    configuration: str
    fold: str
    metrics: Metrics = Field(
        description="dice and iou: foreground_mean of nnU-Net's summary.json (0-1). validation_loss: of the last "
        "epoch, on random patches; can be negative. For several folds: over all cases, and the mean loss."
    )
    per_class: tuple[ClassMetrics, ...]
    folds: tuple[FoldResult, ...]
    dice_mean_sd: str | None = Field(description="Mean ± sample standard deviation of the folds' Dice.")
    worst_cases: tuple[CaseMetrics, ...] = Field(description="Validation cases with the lowest Dice.")
    complete: bool = Field(description="False while a stage or fold is missing; then there are no metrics.")
    predictions: str | None = Field(default=None, description="The folder that a nnunet_predict run wrote.")
    best: BestConfiguration | None = Field(default=None, description="What nnunet_find_best_configuration found.")
    archive: str | None = Field(default=None, description="The zip that a nnunet_export_model run wrote.")
    failure: Failure | None = None
    notes: tuple[str, ...] = ()
    retry_after_s: int = 0
    next_step: str = ""

"""The result of a run: the request, and what `nnunet_results` and the Python function return."""

from typing import Any

from pydantic import Field

from .base import Record, Request, RunId, unknown
from .jobs import BEST, FILES
from .records import BestConfiguration, CaseMetrics, CaseUncertainty, ClassMetrics, Failure, Metrics, Status, Surfaces


def left_out(description: str) -> Any:
    """A field that the answer leaves out while it is unknown, so that its schema needs no null."""
    return Field(default=None, exclude_if=unknown, json_schema_extra=_never_null, description=description)


def _never_null(schema: dict[str, Any]) -> None:
    schema.update(next(arm for arm in schema.pop("anyOf") if arm != {"type": "null"}))


class ResultsRequest(Request):
    """Ask for a run's result."""

    run_id: RunId
    cases: int = Field(default=5, ge=1, le=1000, description="At most.")


class FoldResult(Record):
    """One fold of the configuration that was asked for."""

    fold: str
    dice: float | None
    iou: float | None
    validation_loss: float | None = Field(description="Validation loss of the last epoch, on random patches.")
    cases: int = Field(description="Validation cases measured.")
    epochs: int | None = left_out("")
    reused: bool = Field(description="Trained by an earlier run.")
    worst_cases: tuple[CaseMetrics, ...] = Field(default=(), exclude=True, description="A few, for the page.")


# Networks that had learnt nothing on Hippocampus had a pseudo Dice of 0.03 to 0.07, and a Dice of 0.05 in the end.
HARDLY_ANY = 0.1
# The maintainers call 0.70 after 0.82 usual (nnU-Net's issue 2128), and 0.05 after 0.91 not (2552).
PSEUDO_GAP = 0.2


def far_under(dice: float | None, pseudo_dice: float | None) -> bool:
    """Whether whole cases came out much worse than the patches of the training."""
    return dice is not None and pseudo_dice is not None and pseudo_dice - dice > PSEUDO_GAP


class Result(Record):
    """The result of a run: nnU-Net's own numbers with six decimals, or null until there are any."""

    run_id: str
    status: Status
    note: str | None = left_out("Why it was started.")
    trainer: str = Field(default="", description="Of the model that was trained or used.")
    model_path: str | None = Field(description="The folder of the trained fold, or of all folds.")
    checkpoint: str | None = left_out("In model_path; * is each fold.")
    dataset_id: int
    dataset_name: str
    configuration: str = Field(
        default="best", exclude_if=lambda name: name in (BEST, FILES), description="A search has none."
    )
    fold: str | None = left_out("Of a training.")
    metrics: Metrics = Field(
        description="dice and iou: foreground_mean of nnU-Net's summary.json (0-1). validation_loss: of the last "
        "epoch, on random patches; can be negative. For several folds: over all cases, and the mean loss."
    )
    cases: int | None = left_out("Cases that the metrics are over.")
    ema_pseudo_dice: float | None = left_out(
        "Moving average of the pseudo Dice after the last epoch: an estimate on patches, not the Dice."
    )
    epochs: int | None = left_out("Epochs trained; `folds` if they differ.")
    train_hours: float | None = left_out("Of all epochs of all folds.")
    per_class: tuple[ClassMetrics, ...]
    folds: tuple[FoldResult, ...] = Field(
        default=(), exclude_if=lambda folds: len(folds) < 2, description="Where they are several."
    )
    dice_mean_sd: str | None = left_out("Mean ± sample standard deviation of the folds' Dice.")
    worst_cases: tuple[CaseMetrics, ...] = Field(description="Validation cases with the lowest Dice.")
    uncertain_cases: tuple[CaseUncertainty, ...] = Field(
        default=(), exclude_if=lambda cases: not cases, description="The most uncertain first, 0 (sure) to 1."
    )
    complete: bool = Field(description="Whether the run has done all that it was to do; else there are no metrics.")
    cross_validation: str | None = left_out('How much of a cross-validation it is, e.g. "1 of 5 folds".')
    predictions: str | None = left_out("The folder that a nnunet_predict run wrote.")
    surface: Surfaces | None = left_out("Of nnunet_evaluate; not nnU-Net's.")
    evaluation: str | None = left_out("Its folder: summary.json, and cases.csv with every case.")
    best: BestConfiguration | None = left_out("What nnunet_find_best_configuration found.")
    archive: str | None = left_out("The zip that a nnunet_export_model run wrote.")
    failure: Failure | None = left_out("")
    notes: tuple[str, ...] = ()
    retry_after_s: int = 0
    next_step: str = ""

    @property
    def is_doubtful(self) -> bool:
        """Whether a class is missed, or Dice is far under pseudo Dice; the first note says it."""
        missed = any(line.dice is not None and line.dice < HARDLY_ANY for line in self.per_class)
        return missed or far_under(self.metrics.dice, self.ema_pseudo_dice)

"""What a stage found: one model per kind of work. A stage that found nothing leaves a plain `Outcome`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from .base import Record
from .records import BestConfiguration, CaseMetrics, CaseUncertainty, ClassMetrics, Metrics, Outcome, Surfaces


class MeasuredOutcome(Outcome):
    """Numbers over cases whose labels are known."""

    metrics: Metrics | None = None
    per_class: tuple[ClassMetrics, ...] = ()
    cases: tuple[CaseMetrics, ...] = ()
    voxel_mm3: float | None = Field(default=None, description="Where it is the same in all cases and known.")


class ModelOutcome(MeasuredOutcome):
    """A trained or validated fold, or the folds of a cross-validation together."""

    kind: Literal["model"] = "model"
    epochs_trained: int | None = None
    ema_pseudo_dice: float | None = Field(default=None, description="nnU-Net's moving average after the last epoch.")
    train_hours: float | None = Field(default=None, description="Sum of all epochs' times, resumes included.")
    parameters: int | None = Field(default=None, description="Weights of the network.")
    checkpoint: str | None = None
    gpu_gb: float | None = Field(default=None, description="Memory of its GPU that the process took at most.")


class PredictionPace(Record):
    """How long a model took for these cases, with reading and writing, and how many patches it computed."""

    cases: int
    passes: int = Field(ge=1)
    seconds: float


class PredictedOutcome(Outcome):
    """What one of several stages predicted, and why it left cases out."""

    kind: Literal["predicted"] = "predicted"
    pace: PredictionPace | None = None
    kept: int = Field(default=0, description="Cases that were in the output folder before.")
    left_out: dict[str, str] = Field(default_factory=dict)


class PredictionOutcome(MeasuredOutcome):
    """Predicted images and, if there are labels, their scores."""

    kind: Literal["prediction"] = "prediction"
    predictions: str = Field(description="Folder that the prediction wrote.")
    uncertain: tuple[CaseUncertainty, ...] = Field(default=(), description="The most uncertain first.")
    pace: PredictionPace | None = None


class EvaluationOutcome(MeasuredOutcome):
    """Scores of predictions against labels, and the folder with summary.json and the table of every case."""

    kind: Literal["evaluation"] = "evaluation"
    evaluation: str
    surface: Surfaces | None = None


class SearchOutcome(MeasuredOutcome):
    """The best configuration and its numbers."""

    kind: Literal["search"] = "search"
    best: BestConfiguration


class ExportOutcome(Outcome):
    """A model in a zip."""

    kind: Literal["export"] = "export"
    archive: str = Field(description="Zip file that the export wrote.")


def _kind(outcome: Any) -> str:
    return str(outcome.get("kind", "stage")) if isinstance(outcome, dict) else str(outcome.kind)


class AnyOutcome(
    RootModel[
        Annotated[
            Annotated[Outcome, Tag("stage")]
            | Annotated[ModelOutcome, Tag("model")]
            | Annotated[PredictedOutcome, Tag("predicted")]
            | Annotated[PredictionOutcome, Tag("prediction")]
            | Annotated[EvaluationOutcome, Tag("evaluation")]
            | Annotated[SearchOutcome, Tag("search")]
            | Annotated[ExportOutcome, Tag("export")],
            Discriminator(_kind),
        ]
    ]
):
    """An outcome as it is read from its file."""

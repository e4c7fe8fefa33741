"""What a run is to do: one model per kind of run. It is in the run's record, where the worker reads it.

Where a training has its fold, other runs have the name of their kind: in the run's id, and in answers, whose `fold` is
never null.
"""

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field

from .base import Record
from .changes.table import of_plans, read_changes
from .model_name import ModelName
from .training import TrainingRequest

BEST = "best"  # in place of a configuration, for the search and the use of the best one
FILES = "files"  # in place of a configuration, for what concerns no model
NO_DATASET = 0  # nnU-Net's ids begin at 1


class TrainingJob(Record):
    """A training as it was asked for, and what the planning decided."""

    kind: Literal["train"] = "train"
    request: TrainingRequest
    trainer: str
    plans_identifier: str
    planner: str | None = Field(default=None, description="Makes the plans; null where existing plans are used.")
    source_plans: str | None = Field(default=None, description="Plans to move from another model (transfer learning).")

    @property
    def dataset_id(self) -> int:
        return self.request.dataset_id

    @property
    def configuration(self) -> str:
        return self.request.configuration

    @property
    def changes_of_plans(self) -> dict[str, str]:
        """What nnU-Net's planner is to do differently."""
        return of_plans(read_changes(self.request.changes))

    @property
    def model(self) -> ModelName:
        return ModelName(self.trainer, self.plans_identifier, self.configuration)

    @property
    def asked(self) -> TrainingRequest:
        """What two equal requests have in common. The planning's decisions are left out: they depend on what exists by
        then."""
        return self.request


class OtherJob(Record):
    """What all runs that are no training have in common."""

    dataset_id: int
    configuration: str

    @property
    def asked(self) -> "OtherJob":
        """What two equal requests have in common: everything."""
        return self


class PredictStep(Record):
    """One model predicts all images into a folder; it belongs to the stage of that name."""

    model: str
    folds: tuple[str, ...]
    output: str
    previous: str | None = None  # folder with the segmentations of a cascade's first stage
    npz: bool = False
    mirroring: bool = True
    step_size: float = 0.5
    checkpoint: str = "final"
    uncertainty: bool = False
    part: int = 0  # of `parts`, from 0: every parts-th case, as nnUNetv2_predict takes -part_id of -num_parts
    parts: int = 1


class Originals(Record):
    """Images under the names that their owner gave them: the files of each case below the folder, one per channel."""

    folder: str
    cases: dict[str, tuple[str, ...]]
    series: str = ""  # of several DICOM series in a folder, the number or description of the one meant


class PredictionJob(OtherJob):
    """A whole prediction: the steps in order, then the ensemble of `parts` and the postprocessing, if there are any."""

    kind: Literal["predict"] = "predict"
    of_run: str | None
    models: tuple[str, ...]
    folds: tuple[str, ...]
    images: str  # the folder, or a pattern below it
    originals: Originals | None = None  # to be converted first
    order: tuple[str, ...] = ()  # the cases, where parts must agree on them and nothing else lists them
    output: str
    labels: str | None
    npz: bool
    overwrite: bool
    options: dict[str, str] = Field(default_factory=dict)  # those that differ from nnU-Net's own
    trusted: bool  # trained here: its checkpoints may hold more than data
    steps: dict[str, PredictStep]
    parts: tuple[str, ...] = ()
    postprocessing: str | None = None  # nnU-Net's postprocessing.json

    @property
    def model(self) -> ModelName:
        return ModelName.parse(PurePath(self.models[0]).name)

    @property
    def uncertainty(self) -> bool:
        """Whether each case is to be told how uncertain it is."""
        return any(step.uncertainty for step in self.steps.values())


class EvaluationJob(OtherJob):
    """Predictions and labels of the same cases. Without `labels_named` every value that occurs is a class."""

    kind: Literal["evaluate"] = "evaluate"
    dataset_id: int = NO_DATASET
    configuration: str = FILES
    predictions: str
    labels: str
    pairs: dict[str, tuple[str, str]] = Field(description="Per case the files below these two folders.")
    labels_named: dict[str, int | list[int]] = Field(default_factory=dict, description="As in dataset.json.")
    tolerance_mm: float

    @property
    def model(self) -> ModelName:
        return ModelName("", "", FILES)  # whoever predicted: nothing says so


class SearchJob(OtherJob):
    """The names of the models among which nnU-Net is to find the best configuration."""

    kind: Literal["search"] = "search"
    configuration: str = BEST
    models: tuple[str, ...]
    folds: tuple[str, ...]
    ensembling: bool

    @property
    def model(self) -> ModelName:
        return ModelName.parse(self.models[0])


class ExportedModel(Record):
    """A model folder and the folds of it that go into the zip."""

    folder: str
    folds: tuple[str, ...]


class ExportJob(OtherJob):
    """The models of a zip; for a best configuration also what its search measured."""

    kind: Literal["export"] = "export"
    output: str
    models: tuple[ExportedModel, ...]
    best_models: tuple[str, ...] = ()
    measured: str | None = None  # nnU-Net's folder with the predictions of all folds of the best configuration
    best: tuple[str, ...] = ()
    trained_with: dict[str, str] = Field(default_factory=dict)
    include: tuple[str, ...] = ()

    @property
    def model(self) -> ModelName:
        return ModelName.parse(PurePath(self.models[0].folder).name)


class ImportJob(OtherJob):
    """A zip, and the models that were in it at the time of the request."""

    kind: Literal["import"] = "import"
    zip: str
    overwrite: bool
    models: tuple[str, ...]

    @property
    def model(self) -> ModelName:
        return ModelName.parse(self.models[0])


AnyJob = Annotated[
    TrainingJob | PredictionJob | EvaluationJob | SearchJob | ExportJob | ImportJob,
    Field(discriminator="kind"),
]

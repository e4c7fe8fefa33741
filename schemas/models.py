"""Working with trained models: prediction, best configuration, comparison, export and import."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from .base import Record, Request, RunId
from .changes.options import OPTIONS, in_words, read_options
from .records import Status
from .training import DatasetId, Device


class PredictionStarted(Record):
    """The answer of nnunet_predict: the run goes on by itself."""

    run_id: str
    status: Status
    dataset_id: int
    dataset_name: str
    model_path: str
    folds: tuple[str, ...]
    cases: int
    output: str
    device: str
    estimate: str = Field(default="", description="Minutes, disk and memory.")
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


class ModelRequest(BaseModel):
    """The part of a request that names trained models, in exactly one way."""

    run_id: RunId | None = Field(default=None, description="A training's model. Omitted: none.")
    model: str | None = Field(
        default=None,
        max_length=4096,
        description="Or a folder. Omitted: none.",
    )
    dataset_id: DatasetId | None = Field(
        default=None,
        description="Or its best configuration. Omitted: none.",
    )

    @model_validator(mode="after")
    def _names_one(self) -> "ModelRequest":
        if sum(given is not None for given in (self.run_id, self.model, self.dataset_id)) != 1:
            raise ValueError(
                "Give exactly one of run_id, model and dataset_id: a training, a model folder, or the best "
                "configuration of a dataset."
            )
        return self


class PredictRequest(ModelRequest, Request):
    """Segment images with a trained model."""

    images: str = Field(
        default="imagesTs",
        max_length=4096,
        description="Folder, pattern with {case} and {channel}, or imagesTs or imagesTr.",
    )
    output: str | None = Field(
        default=None,
        max_length=4096,
        description="New folder. Omitted: in predictions/ of the model.",
    )
    labels: str | None = Field(
        default=None,
        max_length=4096,
        description="Folder of true labels, or labelsTr, to score. Omitted: none.",
    )
    device: Device | None = Field(default=None, description="Omitted: cuda, else mps, else cpu.")
    npz: bool = Field(default=False, description="Save probabilities as well.")
    overwrite: bool = Field(default=False, description="Predict cases again that are there.")
    options: tuple[Annotated[str, Field(max_length=80)], ...] = Field(
        default=(), max_length=20, description=f"Such as uncertainty=on: {', '.join(OPTIONS)}."
    )

    @field_validator("options")
    @classmethod
    def _known_options(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return in_words(read_options(words))


class EvaluateRequest(Request):
    """Measure predictions against labels."""

    predictions: str = Field(max_length=4096, description="Folder, or pattern with {case}.")
    labels: str = Field(max_length=4096, description="Or labelsTr, labelsTs of dataset_id.")
    dataset_id: DatasetId | None = Field(default=None, description="Names the classes. Omitted: dataset.json there.")
    tolerance_mm: float = Field(default=1, ge=0, le=1000, allow_inf_nan=False, description="Of NSD.")


class FindBestRequest(Request):
    """Search the best configuration of a dataset."""

    dataset_id: DatasetId = Field(description="From nnunet_datasets.")
    ensembling: bool = Field(default=True, description="Also ensembles of two; needs trainings with npz=true.")


Extra = Literal["optimizer", "trainer", "onnx"]
Extras = Annotated[tuple[Extra, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]


class ExportRequest(ModelRequest, Request):
    """Write a model into a zip."""

    output: str | None = Field(
        default=None, max_length=4096, description="The new zip. Omitted: exports/ in the dataset's results."
    )
    include: Extras = Field(default=(), max_length=3, description="Add: optimizer, trainer (its code), onnx.")


class ImportRequest(Request):
    """Install a model from a zip."""

    zip: str = Field(max_length=4096, description="As nnU-Net exports it.")
    overwrite: bool = Field(default=False, description="Replace a model that is there.")
    look: bool = Field(default=False, description="Only tell what it holds, and if it fits images.")
    images: str | None = Field(default=None, max_length=4096, description="Would it predict these? Omitted: none.")

    @model_validator(mode="after")
    def _looks_at_images(self) -> "ImportRequest":
        if self.images is not None and not self.look:
            raise ValueError("images goes with look=true. To predict images, import the model first.")
        return self


class ZippedModel(Record):
    """A model in a zip, as its files say."""

    model: str
    folds: tuple[str, ...]
    trainer: str = Field(description="The class that nnU-Net asks for the network.")
    whose: Literal["nnU-Net's", "yours", "not here"]
    trainer_text: str | None = Field(default=None, description="Where the zip has its code, as text.")
    network: str | None = None
    patch_size: tuple[int | float, ...] = ()
    spacing: tuple[float, ...] = ()
    dice: float | None = Field(default=None, description="Mean of the folds' foreground_mean, as the zip says.")
    resumable: bool = Field(default=True, description="A training can go on from it.")
    problems: tuple[str, ...] = Field(default=(), description="Why it would not predict here.")


class ZipContents(Record):
    """What a look into a zip has found."""

    dataset_name: str
    models: tuple[ZippedModel, ...]
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    file_ending: str
    unpacked_mb: float
    cases: int | None = Field(default=None, description="Of the images, those that it would predict.")


class ImportAnswer(Record):
    """The answer of nnunet_import_model: the run that installs a model, or what a look has found."""

    run_id: str | None = None
    status: Status | None = None
    contents: ZipContents | None = None
    notes: tuple[str, ...] = ()
    retry_after_s: int | None = None
    next_step: str


class ComparedModel(Record):
    """One trained model: a configuration, its trainer and plans, and what its folds measured."""

    name: str
    folds: tuple[str, ...]
    complete: bool = Field(description="All folds of the split are there.")
    rank: int | None = Field(description="By Dice among several complete models over the same cases.")
    cases: int
    dice: float | None = Field(description="nnU-Net's foreground_mean over all cases of these folds.")
    iou: float | None
    dice_mean_sd: str | None = Field(description="Mean over folds ± sample standard deviation between folds.")
    per_class: dict[str, tuple[float | None, float | None]] = Field(description="Dice and IoU of each class.")
    epochs: int | None = Field(description="Per fold.")
    train_hours: float | None = Field(description="All folds together; null where a fold's is not known.")
    parameters: int | None
    model_path: str
    note: str | None = Field(default=None, description="Why its runs were started.")
    differs: tuple[str, ...] = Field(
        default=(), description="How it was trained, other than the first; what is not mentioned is the same."
    )


class ModelDifference(Record):
    """Dice of `model` minus Dice of `against`, paired over the cases that both have validated."""

    model: str
    against: str
    cases: int
    shared: tuple[str, ...] = Field(default=(), description="Their names, where they are few.")
    patients: int | None = Field(default=None, description="Where the cases' names show several of one patient.")
    dice: float = Field(description="Of `model`, over these cases.")
    against_dice: float
    difference: float
    low: float = Field(description="95 % bootstrap interval.")
    high: float
    p: float = Field(description="Of the sign-flip test.")
    clear: bool = Field(description="The interval does not contain 0, and p < 0.05.")
    verdict: str


class CompareAnswer(Record):
    """Models side by side."""

    models: tuple[ComparedModel, ...]
    differences: tuple[ModelDifference, ...] = Field(description="Each model against the first.")
    method: str = Field(description="What the numbers are, and how the differences were tested.")
    table: str
    notes: tuple[str, ...] = ()
    next_step: str


class CompareRequest(Request):
    """Compare trained models."""

    run_ids: tuple[RunId, ...] = Field(default=(), max_length=20, description="Omitted: all models of dataset_id.")
    dataset_id: DatasetId | None = Field(default=None, description="Omitted: the models of run_ids.")
    table: Literal["markdown", "csv", "latex"] = Field(default="markdown", description="The table's format.")

    @model_validator(mode="after")
    def _has_something(self) -> "CompareRequest":
        if bool(self.run_ids) == (self.dataset_id is not None):
            raise ValueError("Give either run_ids or dataset_id: nnunet_runs lists runs, nnunet_datasets datasets.")
        return self


ReportFormat = Literal["html", "markdown"]


# As many as one picture of curves takes (schemas/plots.py).
MOST_REPORTED = 6


class ReportRequest(Request):
    """Write a report on runs."""

    run_ids: tuple[RunId, ...] = Field(min_length=1, max_length=MOST_REPORTED, description="One or more.")
    output: str | None = Field(default=None, max_length=4096, description="New file. Omitted: reports/.")
    format: ReportFormat | None = Field(default=None, description="Omitted: by the file's ending, else html.")


class Report(Record):
    """A report on trainings, written into a file."""

    file: str
    says: tuple[str, ...] = Field(description="What was measured, a line per run.")
    methods: str = Field(description="A paragraph for a paper, on the first run; the file has one on each.")
    not_known: tuple[str, ...] = Field(default=(), description="Left out of it, because no file tells it.")
    notes: tuple[str, ...] = ()
    next_step: str

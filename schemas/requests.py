"""The companion tools' requests."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .pictures import Theme
from .runs import Status
from .training import DatasetId, Device, TrainingRequest

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


class ProgressRequest(Request):
    """Ask how a run is doing."""

    run_id: RunId
    wait_s: float = Field(
        default=0,
        ge=0,
        le=50,
        description="Seconds to wait (0-50) for a new stage, status or epoch. Omitted: answer at once.",
    )


class LogsRequest(Request):
    """Read a bounded part of a stage's log."""

    run_id: RunId
    stage: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=40,
        description="Stage, e.g. preprocess or train_fold_0. Omitted: the stage that runs or failed.",
    )
    mode: Literal["summary", "tail", "grep", "window"] = Field(
        default="summary",
        description="summary: first and last lines and the distinct errors. tail: the last lines. grep: lines that "
        "match `pattern`. window: lines from `start`.",
    )
    lines: int = Field(default=40, ge=1, le=400, description="At most this many lines (1-400).")
    pattern: str | None = Field(
        default=None,
        max_length=200,
        description="mode=grep: a regular expression (case is ignored). Omitted: none.",
    )
    start: int | None = Field(
        default=None, description="First line for mode=window, from 1; negative counts from the end. Omitted: 1."
    )


class ResultsRequest(Request):
    """Ask for a run's result."""

    run_id: RunId


class RunsRequest(Request):
    """List runs, newest first."""

    dataset_id: DatasetId | None = Field(default=None, description="Only runs of this dataset. Omitted: all.")
    status: Status | None = Field(default=None, description="Only runs with this status. Omitted: all.")
    limit: int = Field(default=20, ge=1, le=200, description="At most this many runs (1-200).")


class CancelRequest(Request):
    """Stop a run."""

    run_id: RunId
    force: bool = Field(
        default=False,
        description="End it at once, without finishing the epoch and saving it.",
    )


class DatasetsRequest(Request):
    """List datasets, or look at one."""

    dataset_id: DatasetId | None = Field(default=None, description="Look into its images. Omitted: list all datasets.")


class PrepareRequest(Request):
    """Import a dataset."""

    source: str = Field(
        max_length=4096,
        description="Folder with dataset.json, imagesTr and labelsTr. It is only read.",
    )
    dataset_id: DatasetId = Field(description="Free dataset ID (1-999) for the new dataset.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=80,
        description="Name of the new dataset: letters, digits, _ . -; it becomes DatasetXXX_<name>.",
    )


class PlotRequest(Request):
    """Draw a picture."""

    kind: Literal["curves", "folds", "overlay", "dataset"] = Field(
        default="curves",
        description="curves: losses, pseudo Dice, learning rate. folds: Dice of each validation case per class and "
        "fold. overlay: a case's slices with truth and prediction. dataset: a few cases with their labels.",
    )
    run_id: RunId | None = Field(default=None, description="The run. Omitted: only for kind=dataset, with dataset_id.")
    with_run_ids: tuple[RunId, ...] = Field(
        default=(), max_length=5, description="kind=curves: up to 5 more runs over it. Omitted: none."
    )
    dataset_id: DatasetId | None = Field(default=None, description="kind=dataset: the dataset. Omitted: the run's.")
    case: str | None = Field(
        default=None,
        max_length=200,
        description="kind=overlay: worst, median or best by Dice, or a validation case's name. Omitted: worst.",
    )
    theme: Theme = Field(default="light", description="Background: light or dark.")

    @model_validator(mode="after")
    def _has_what_it_shows(self) -> "PlotRequest":
        if self.run_id is None and (self.kind != "dataset" or self.dataset_id is None):
            wanted = "dataset_id" if self.kind == "dataset" else "run_id"
            raise ValueError(f"kind={self.kind!r} needs {wanted}: nnunet_runs lists runs, nnunet_datasets datasets.")
        if self.with_run_ids and self.kind != "curves":
            raise ValueError(f"with_run_ids is for kind='curves'; kind={self.kind!r} shows one run.")
        if self.case and self.kind != "overlay":
            raise ValueError(f"case is for kind='overlay'; kind={self.kind!r} shows no single case.")
        return self


class CompareRequest(Request):
    """Compare trained models."""

    run_ids: tuple[RunId, ...] = Field(
        default=(), max_length=20, description="Runs whose models to compare. Omitted: all models of dataset_id."
    )
    dataset_id: DatasetId | None = Field(
        default=None, description="Compare every trained model of this dataset. Omitted: the models of run_ids."
    )
    table: Literal["markdown", "csv", "latex"] = Field(default="markdown", description="How the table is written.")

    @model_validator(mode="after")
    def _has_something(self) -> "CompareRequest":
        if bool(self.run_ids) == (self.dataset_id is not None):
            raise ValueError("Give either run_ids or dataset_id: nnunet_runs lists runs, nnunet_datasets datasets.")
        return self


class SystemRequest(Request):
    """Ask about the machine."""


class DoctorRequest(Request):
    """Look at everything that a training needs."""

    quick: bool = Field(
        default=False,
        description="Leave out what takes seconds: loading PyTorch, and starting the servers that clients would start.",
    )


class ModelRequest(BaseModel):
    """The part of a request that names trained models, in exactly one way."""

    run_id: RunId | None = Field(default=None, description="A training, for its model. Omitted: model or dataset_id.")
    model: str | None = Field(
        default=None,
        max_length=4096,
        description="Or a model folder, absolute or in nnUNet_results. Omitted: not used.",
    )
    dataset_id: DatasetId | None = Field(
        default=None,
        description="Or this dataset's best configuration. Omitted: not used.",
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
        description="Folder of images named CASE_0000.ending, or imagesTs or imagesTr of the model's dataset.",
    )
    output: str | None = Field(
        default=None,
        max_length=4096,
        description="Folder for the predictions; it is made. Omitted: predictions/<images> in the model's folder.",
    )
    labels: str | None = Field(
        default=None,
        max_length=4096,
        description="Folder with the true labels, or labelsTr, to score at once. Omitted: no scores.",
    )
    device: Device | None = Field(default=None, description="Omitted: cuda, else mps, else cpu.")
    npz: bool = Field(default=False, description="Save the softmax probabilities as .npz as well.")
    overwrite: bool = Field(
        default=False, description="Predict cases again that are in the output folder. Default: they are kept."
    )


class FindBestRequest(Request):
    """Search the best configuration of a dataset."""

    dataset_id: DatasetId = Field(description="The dataset that models are trained on.")
    ensembling: bool = Field(default=True, description="Also ensembles of two; needs trainings with npz=true.")


class ExportRequest(ModelRequest, Request):
    """Write a model into a zip."""

    output: str | None = Field(
        default=None, max_length=4096, description="The new zip. Omitted: exports/ in the dataset's results."
    )


class ImportRequest(Request):
    """Install a model from a zip."""

    zip: str = Field(max_length=4096, description="A zip as nnU-Net exports models.")
    overwrite: bool = Field(default=False, description="Replace a model that is there already.")


class TrainingCall(TrainingRequest):
    """A training as it is asked for: its parameters, or those of an earlier one."""

    like: RunId | None = Field(
        default=None,
        description="Run to repeat: its arguments count where none is given here. Omitted: the defaults.",
    )


class PreflightRequest(TrainingCall):
    """Look at a training before it starts."""

    measure: bool = Field(
        default=False,
        description="Also run the planned network for up to 30 s on an invented batch, to know the hours without an "
        "earlier run. Needs plans.",
    )

    def training(self) -> TrainingCall:
        """The request that would be started."""
        return TrainingCall.model_validate(self.model_dump(exclude={"measure"}, exclude_unset=True))

"""Trained models in use: prediction, the best configuration, export and import."""

from pydantic import BaseModel, Field, model_validator

from .base import Record, Request, RunId
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
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


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

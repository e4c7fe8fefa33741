"""What the stages of each kind of job are to do; it lies in the run's record."""

from pydantic import Field

from .base import Record


class ExportedModel(Record):
    """A model folder and the folds of it that go into the zip."""

    folder: str
    folds: tuple[str, ...]


class ExportJob(Record):
    """The models of a zip; for a best configuration also what its search measured."""

    output: str
    models: tuple[ExportedModel, ...]
    best_models: tuple[str, ...] = ()
    measured: str | None = None  # nnU-Net's folder with the predictions of all folds of the best configuration
    best: tuple[str, ...] = ()
    trained_with: dict[str, str] = Field(default_factory=dict)


class PredictStep(Record):
    """One model predicts all images into a folder, by the name of its stage."""

    model: str
    folds: tuple[str, ...]
    output: str
    previous: str | None = None  # folder with the segmentations of a cascade's first stage
    npz: bool = False


class PredictionJob(Record):
    """A whole prediction: the steps in order, then the ensemble of `parts` and the postprocessing, if there are any."""

    models: tuple[str, ...]
    folds: tuple[str, ...]
    images: str
    output: str
    labels: str | None
    npz: bool
    overwrite: bool
    trusted: bool  # trained here: its checkpoints may hold more than data
    steps: dict[str, PredictStep]
    parts: tuple[str, ...] = ()
    postprocessing: str | None = None  # nnU-Net's postprocessing.json

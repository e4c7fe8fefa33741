"""What a prediction's stages are to do; it lies in the request of the run's record."""

from .runs import Record


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

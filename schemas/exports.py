"""What an export's stage is to do; it lies in the request of the run's record."""

from pydantic import Field

from .runs import Record


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

"""A trained model as nnU-Net keeps it: a folder of a dataset, with a folder for each fold."""

from dataclasses import dataclass
from pathlib import Path

from ..schemas.runs import RunRecord
from .datasets import DatasetFiles, FoldFiles
from .result import model_stages


@dataclass(frozen=True)
class Model:
    """A model folder, and the folds of it that are meant, as nnU-Net names them."""

    files: DatasetFiles
    folder: Path
    folds: tuple[str, ...]

    def fold(self, name: str) -> FoldFiles:
        return FoldFiles(self.folder / f"fold_{name}")


def model_of(record: RunRecord) -> Model:
    """The model that a run trains, with the folds it was asked for."""
    files = DatasetFiles(record.folders, record.dataset_name)
    folder = files.model(record.trainer, record.plans_identifier, str(record.request["configuration"]))
    return Model(files, folder, tuple(str(spec.fold) for spec in model_stages(record)))

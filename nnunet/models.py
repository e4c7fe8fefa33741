"""A trained model as nnU-Net keeps it: a folder of a dataset, with a folder for each fold."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import Refused
from ..prediction_work import Network
from ..schemas.model_name import ModelName
from ..schemas.records import Folders, RunRecord
from ..texts import fold_name, some
from .datasets import DATASET_FOLDER, DatasetFiles, FoldFiles, one_file_of_colours
from .old_models import way_back
from .preprocessed import CASCADE, LOWRES, planned
from .safe_plans import read_dataset_json, read_plans


@dataclass(frozen=True)
class Model:
    """A model folder, and those of its folds that are meant, under nnU-Net's names."""

    files: DatasetFiles
    folder: Path
    folds: tuple[str, ...]

    @property
    def name(self) -> ModelName:
        """How it was trained."""
        return ModelName.parse(self.folder.name)

    @property
    def plans(self) -> dict[str, Any]:
        """The model's plans, checked so that nnU-Net may use them.

        Raises:
            Refused: there are none, or nnU-Net must not have them.
        """
        return self._judged("plans.json", read_plans)

    @property
    def description(self) -> dict[str, Any]:
        """The model's dataset.json, checked so that nnU-Net may use it.

        Raises:
            Refused: there is none, or nnU-Net must not have it.
        """
        return self._judged("dataset.json", read_dataset_json)

    @property
    def planned(self) -> dict[str, Any] | None:
        """What its plans say of its configuration; null where they cannot be read or must not be used."""
        with suppress(Refused):
            return planned(self.plans, self.name.configuration)
        return None

    @property
    def network(self) -> Network | None:
        """What its predictions cost by its plans; null where these do not say it."""
        with suppress(Refused):
            return Network.of(self.planned, self.plans, self.description, len(self.folds))
        return None

    def _judged(self, name: str, read: Callable[..., dict[str, Any] | None]) -> dict[str, Any]:
        found = read(self.folder / name, inside=[self.folder])
        if found is None:
            raise Refused(f"{self.folder / name} is not there, or no file of the model's that can be read as JSON.")
        return found

    def fold(self, name: str) -> FoldFiles:
        return FoldFiles(self.folder / f"fold_{name}")


def model_of(record: RunRecord) -> Model:
    """The model that a run trains, with the folds it was asked for."""
    files = DatasetFiles(record.folders, record.dataset_name)
    return Model(files, files.results / str(record.job.model), tuple(str(spec.fold) for spec in record.model_stages))


def model_at(folder: Path, folders: Folders) -> Model:
    """A model folder wherever it lies, with all its trained folds.

    Raises:
        Refused: it is no model folder of nnU-Net v2, has no trained fold, or its plans could run code.
    """
    if not ModelName.fits(folder.name) or not all((folder / name).exists() for name in ("plans.json", "dataset.json")):
        raise _no_model(folder)
    folds = trained_folds(folder)
    if not folds:
        olds = (way_back(FoldFiles(path)) for path in sorted(folder.glob("fold_*")))
        old = next(filter(None, olds), None)
        text = f"{folder} has no fold_*/checkpoint_final.pth, so there is nothing to predict with."
        raise Refused(text, about="model before", **old) if old else Refused(text)
    model = Model(DatasetFiles(folders, ""), folder, folds)
    name, _ = str(model.plans.get("dataset_name")), model.description
    if DATASET_FOLDER.fullmatch(name) is None:
        raise Refused(f"{folder / 'plans.json'} names no dataset (DatasetXXX_Name), so it is not of nnU-Net v2.")
    return replace(model, files=DatasetFiles(folders, name))


def _no_model(folder: Path) -> Refused:
    found = (path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/plans.json"))
    inside = sorted(str(path.relative_to(folder)) for path in found if ModelName.fits(path.name))
    hint = f" Inside it are {some(inside)}: name one." if inside else ""
    return Refused(
        f"{folder} is no model folder (TRAINER__PLANS__CONFIGURATION with plans.json, dataset.json and fold_* "
        f"folders).{hint}",
        about="" if inside else "models",
    )


def files_of_a_case(description: Mapping[str, Any]) -> str:
    """How many files an image is that fits a dataset.json, in words."""
    channels = len(description.get("channel_names", {}))
    if one_file_of_colours(str(description.get("file_ending", ".nii.gz")), channels):
        return f"one file with all {channels} colours per case"
    return "one file per channel"


def trained_folds(folder: Path) -> tuple[str, ...]:
    """The folds of the cross-validation that have a final checkpoint, or "all" where there is only that model."""
    found = every_trained_fold(folder)
    return tuple(fold for fold in found if fold != "all") or found


def every_trained_fold(folder: Path) -> tuple[str, ...]:
    """The folds that have a final checkpoint, and at the end "all" if that one has."""
    found = [path.parent.name.removeprefix("fold_") for path in folder.glob("fold_*/checkpoint_final.pth")]
    numbers = sorted((fold for fold in found if fold.isdecimal()), key=int)
    return (*numbers, *(fold for fold in found if fold == "all"))


def only_folds(model: Model, wanted: tuple[str, ...], there: Sequence[str]) -> Model:
    """The same model with only these folds of those that are there; with all that are meant where none is wanted.

    Raises:
        Refused: one of them is not there.
    """
    if lacking := [fold for fold in wanted if fold not in there]:
        has = f"it has {', '.join(map(fold_name, there))}" if there else "it has none"
        raise Refused(
            f"{model.folder.name} has no finished fold {', '.join(map(fold_name, lacking))} that can be meant; {has}."
        )
    return replace(model, folds=wanted) if wanted else model


def previous_stage(model: Model) -> Model | None:
    """The model whose segmentations a cascade reads; None for every other model. It has the same folds, or where one of
    them is not trained, all of its cross-validation.

    Raises:
        Refused: it is not trained.
    """
    configuration = model.name.configuration
    usual = LOWRES if configuration == CASCADE else None
    plans = read_plans(model.folder / "plans.json", inside=[model.folder]) or {}
    before = (planned(plans, configuration) or {}).get("previous_stage", usual)
    if before is None:
        return None
    folder = model.folder.parent / str(model.name._replace(configuration=str(before)))
    folds = model.folds if set(model.folds) <= set(every_trained_fold(folder)) else trained_folds(folder)
    if not folds:
        raise Refused(
            f"A cascade predicts in two steps, and {folder} has no trained fold. Train {before} first; or predict with "
            "nnUNetv2_predict and -prev_stage_predictions."
        )
    return Model(model.files, folder, folds)

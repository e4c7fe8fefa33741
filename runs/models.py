"""A trained model as nnU-Net keeps it: a folder of a dataset, with a folder for each fold."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schemas.runs import Folders, RunRecord
from .datasets import DATASET_FOLDER, DatasetFiles, FoldFiles
from .errors import Refused
from .files import read_json
from .old_models import way_back
from .preprocessed import CASCADE, LOWRES, planned
from .result import model_stages
from .texts import some

# A class of one of these modules and nothing further: pydoc.locate would follow any attribute, as far as os.system.
KNOWN_CODE = re.compile(
    r"dynamic_network_architectures\.architectures\.[a-z_0-9]+\.[A-Z]\w*|torch\.nn\.(modules\.[a-z_0-9]+\.)?[A-Z]\w*"
)


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


def model_at(folder: Path, folders: Folders) -> Model:
    """A model folder wherever it lies, with all its trained folds.

    Raises:
        Refused: it is no model folder of nnU-Net v2, has no trained fold, or its plans could run code.
    """
    plans = read_json(folder / "plans.json")
    if folder.name.count("__") != 2 or not isinstance(plans, dict) or not (folder / "dataset.json").is_file():
        raise Refused(_no_model(folder))
    refuse_code(plans, folder / "plans.json")
    folds = trained_folds(folder)
    if not folds:
        ways = (way_back(FoldFiles(path)) for path in sorted(folder.glob("fold_*")))
        back = next((f" {way}" for way in ways if way), "")
        raise Refused(f"{folder} has no fold_*/checkpoint_final.pth, so there is nothing to predict with.{back}")
    name = str(plans.get("dataset_name"))
    if DATASET_FOLDER.fullmatch(name) is None:
        raise Refused(f"{folder / 'plans.json'} names no dataset (DatasetXXX_Name), so it is not of nnU-Net v2.")
    return Model(DatasetFiles(folders, name), folder, folds)


def _no_model(folder: Path) -> str:
    found = (path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/plans.json"))
    inside = sorted(str(path.relative_to(folder)) for path in found if path.name.count("__") == 2)
    hint = f"Inside it are {some(inside)}: name one." if inside else "nnunet_datasets lists what is trained."
    return (
        f"{folder} is no model folder (TRAINER__PLANS__CONFIGURATION with plans.json, dataset.json and fold_* "
        f"folders). {hint}"
    )


def trained_folds(folder: Path) -> tuple[str, ...]:
    """The folds of the cross-validation that have a final checkpoint, or "all" where there is only that model."""
    found = [path.parent.name.removeprefix("fold_") for path in folder.glob("fold_*/checkpoint_final.pth")]
    return tuple(sorted(fold for fold in found if fold.isdigit())) or tuple(fold for fold in found if fold == "all")


def previous_stage(model: Model) -> Model | None:
    """The model whose segmentations a cascade reads, with the same folds; None for every other model.

    Raises:
        Refused: it is not trained.
    """
    trainer, identifier, configuration = model.folder.name.split("__", 2)
    plans = read_json(model.folder / "plans.json") or {}
    usual = LOWRES if configuration == CASCADE else None
    before = (planned(plans, configuration) or {}).get("previous_stage", usual)
    if before is None:
        return None
    folder = model.folder.parent / f"{trainer}__{identifier}__{before}"
    there = trained_folds(folder)
    folds = model.folds if set(model.folds) <= set(there) else there
    if not folds:
        raise Refused(
            f"A cascade predicts in two steps, and {folder} has no trained fold. Train {before} first; or predict with "
            "nnUNetv2_predict and -prev_stage_predictions."
        )
    return Model(model.files, folder, folds)


def refuse_code(plans: Mapping[str, Any], path: Path) -> None:
    """nnU-Net imports and calls what plans name as network; only its own networks and PyTorch's layers pass.

    Source: nnunetv2 2.8.1, utilities/get_network_from_plans.py:9-33.

    Raises:
        Refused: the plans name something else, or are no plans.
    """
    try:
        foreign = [name for name in _called(plans) if name is not None and not KNOWN_CODE.fullmatch(str(name))]
    except (KeyError, TypeError, AttributeError):
        raise Refused(f"{path} is no plans file of nnU-Net v2.") from None
    if foreign:
        raise Refused(
            f"{path} names {some(foreign)}, which nnU-Net would import and call. From a model that was not trained "
            "here only the networks of dynamic_network_architectures and the layers of torch.nn are used."
        )


def _called(plans: Mapping[str, Any]) -> Iterator[Any]:
    for configuration in plans["configurations"].values():
        network = configuration.get("architecture", {})
        yield network.get("network_class_name")
        layers = network.get("arch_kwargs", {})
        yield from (layers.get(key) for key in network.get("_kw_requires_import", ()))

"""Where nnU-Net keeps a dataset's files: the one place that knows its folder layout, and the lists in dataset.json.

Sources: nnunetv2 2.8.1, nnUNetTrainer.py:132 (results), plan_and_preprocess_api.py and
nnunet_dataset.py (preprocessed data).
"""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NotFound, Refused
from ..files import read_json, read_model, read_plain
from ..schemas.model_name import ModelName
from ..schemas.outcomes import ModelOutcome
from ..schemas.records import Folders, RunRecord, StageSpec
from ..schemas.training import NamedId
from ..texts import some
from ..whole_images import CASE_ENDINGS as CASE_ENDINGS
from .safe_plans import read_plans

DEFAULT_TRAINER = "nnUNetTrainer"
DEFAULT_PLANS = "nnUNetPlans"
# FOLDER is what nnU-Net takes for the folder of a dataset. DATASET_FOLDER is stricter, for names in a zip or in plans:
# no separators and no control characters.
DATASET_FOLDER = re.compile(r"Dataset\d{3}(?:_[^/\\\x00-\x1f\x7f]*)?")
FOLDER = re.compile(r"Dataset\d{3}(?:_.*)?", re.DOTALL)
OWNER_BYTES = 4096
KNOWN = 20  # datasets that an error names
# Of an image's name without its ending: CASE_0000.
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
COLOURED = (".png", ".bmp", ".tif")
IMAGES_AND_LABELS = ("imagesTr", "labelsTr")


def channel_of(name: str, images: Collection[str], labels: Collection[str]) -> re.Match[str] | None:
    """Case and channel in an image's name, or None where it has no channel number; all names without their ending.

    The number of amos_0001 is the case's where its labels are called amos_0001, too.
    """
    match = CHANNEL.fullmatch(name)
    if match and name in labels and match["case"] not in labels and f"{name}_0000" not in images:
        return None
    return match


def one_file_of_colours(ending: str, channels: int) -> bool:
    """Whether a case may be one file, CASE_0000, that brings all the channels as its colours.

    Source: nnunetv2 2.8.1, imageio/natural_image_reader_writer.py:33.
    """
    return ending in COLOURED and channels in (3, 4)


@dataclass(frozen=True)
class DatasetFiles:
    """All folders and files of one dataset."""

    folders: Folders
    name: str

    @property
    def dataset_id(self) -> int:
        return int(self.name[7:10])

    @property
    def raw(self) -> Path:
        return Path(self.folders.raw) / self.name

    @property
    def preprocessed(self) -> Path:
        return Path(self.folders.preprocessed) / self.name

    @property
    def results(self) -> Path:
        return Path(self.folders.results) / self.name

    @property
    def fingerprint_file(self) -> Path:
        return self.preprocessed / "dataset_fingerprint.json"

    def classes(self) -> list[str]:
        """The classes in the order in which nnU-Net's trainer reports them (label_handling.py:62-102, 233-238)."""
        content = read_json(self.preprocessed / "dataset.json")
        labels = content.get("labels") if isinstance(content, dict) else None
        given = labels if isinstance(labels, dict) else {}
        foreground = {name: value for name, value in given.items() if name != "ignore" and value not in (0, [0])}
        if any(isinstance(value, list) for value in foreground.values()):
            return list(foreground)
        return sorted(foreground, key=lambda name: int(foreground[name]))

    @property
    def splits_file(self) -> Path:
        return self.preprocessed / "splits_final.json"

    @property
    def own_splits_file(self) -> Path:
        """A split that the user put beside the raw data."""
        return self.raw / "splits_final.json"

    @property
    def ground_truth(self) -> Path:
        return self.preprocessed / "gt_segmentations"

    @property
    def ensembles(self) -> Path:
        return self.results / "ensembles"

    def evaluation(self, run_id: str) -> Path:
        """What nnunet_evaluate measured; beside the datasets, because it may concern none."""
        return Path(self.folders.results) / "evaluations" / run_id

    @property
    def best_file(self) -> Path:
        """What nnU-Net's search for the best configuration found."""
        return self.results / "inference_information.json"

    def plans_file(self, plans: str) -> Path:
        return self.preprocessed / f"{plans}.json"

    def plans(self, plans: str) -> dict[str, Any] | None:
        """The plans, checked so that nnU-Net may use them; None where there are none.

        Raises:
            Refused: they name what only the person's own plans may.
        """
        return read_plans(self.plans_file(plans))

    def model(self, trainer: str, plans: str, configuration: str) -> Path:
        return self.results / str(ModelName(trainer, plans, configuration))

    def fold(self, trainer: str, plans: str, configuration: str, fold: str) -> Path:
        """The fold folder; `fold` is a number or nnU-Net's "all"."""
        return self.model(trainer, plans, configuration) / f"fold_{fold}"

    def fold_of(self, record: RunRecord, spec: StageSpec) -> Path:
        """The fold folder that a stage of a run writes."""
        return self.fold(record.trainer, record.plans_identifier, spec.configuration, str(spec.fold))


@dataclass(frozen=True)
class FoldFiles:
    """The files in a fold folder."""

    path: Path

    @property
    def final(self) -> Path:
        return self.path / "checkpoint_final.pth"

    @property
    def latest(self) -> Path:
        return self.path / "checkpoint_latest.pth"

    @property
    def best(self) -> Path:
        return self.path / "checkpoint_best.pth"

    def checkpoint(self, name: str) -> Path:
        """The weights that a prediction takes, by a value of its option `checkpoint`."""
        return {"final": self.final, "best": self.best}[name]

    @property
    def summary(self) -> Path:
        return self.path / "validation" / "summary.json"

    @property
    def outcome_file(self) -> Path:
        """Our own note in the fold folder, so that later runs can reuse the fold with all its numbers."""
        return self.path / "nnunet_mcp.json"

    @property
    def owner_file(self) -> Path:
        """Names the run that last wrote this folder; a folder without it was made by hand."""
        return self.path / "nnunet_mcp_run.txt"

    def owner(self) -> str | None:
        """The run that last wrote this folder; None where it was trained by hand or imported."""
        try:
            return read_plain(self.owner_file, most=OWNER_BYTES).decode().strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def cases_file(self) -> Path:
        """Our own note on the cases that the training began with."""
        return self.path / "nnunet_mcp_cases.json"

    def finished(self) -> bool:
        """Whether the fold is trained and validated: nnU-Net writes summary.json last."""
        return self.final.is_file() and self.summary.is_file()

    def checkpoints(self) -> list[Path]:
        """Checkpoints, newest first: a resume takes the first that can be read.

        nnU-Net itself prefers checkpoint_final even where a newer training left a later one
        (nnunetv2 2.8.1, run_training.py:69-74).
        """
        found = [path for path in (self.final, self.latest, self.best) if path.is_file()]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def outcome(self) -> ModelOutcome | None:
        return read_model(self.outcome_file, ModelOutcome)


def dataset_folders(folders: Folders, dataset_id: int) -> list[str]:
    """Names of the folders that hold this id, in raw or preprocessed."""
    return _of_id(dataset_id, _with_data(folders))


def trained_folders(folders: Folders, dataset_id: int) -> list[str]:
    """Names of the folders of this id that hold models, imported ones too."""
    return _of_id(dataset_id, _with_models(folders))


def all_dataset_names(folders: Folders) -> list[str]:
    """Every dataset folder in raw or preprocessed, and those in results that hold models, sorted."""
    return sorted(name for name in _with_data(folders) | _with_models(folders) if FOLDER.fullmatch(name))


def _of_id(dataset_id: int, names: set[str]) -> list[str]:
    return sorted(name for name in names if FOLDER.fullmatch(name) and int(name[7:10]) == dataset_id)


def _with_data(folders: Folders) -> set[str]:
    return {name for root in (folders.raw, folders.preprocessed) for name in _subfolders(Path(root))}


def _with_models(folders: Folders) -> set[str]:
    results = Path(folders.results)
    return {name for name in _subfolders(results) if any((results / name).glob("*__*__*/"))}


def _subfolders(root: Path) -> Iterable[str]:
    return [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []


def find_dataset(folders: Folders, dataset_id: int) -> DatasetFiles:
    """The one dataset of that id; one that has only models here counts, too.

    Raises:
        NotFound: no folder has the id; the message says which exist and where it looked.
        Refused: several folders have it; nnU-Net cannot tell them apart either. Or its name is another than given.
    """
    names = dataset_folders(folders, dataset_id) or trained_folders(folders, dataset_id)
    if not names:
        known = some(all_dataset_names(folders), KNOWN) or "none"
        raise NotFound(
            f"There is no dataset {dataset_id:03d} in {folders.raw}. Datasets there: {known}.",
            about="datasets",
        )
    if len(names) > 1:
        raise Refused(
            f"Dataset id {dataset_id:03d} is ambiguous: {some(names)} in {folders.raw}, {folders.preprocessed} and "
            f"{folders.results}. Rename or remove all but one."
        )
    if isinstance(dataset_id, NamedId) and dataset_id.name != names[0]:
        raise Refused(f"Dataset {dataset_id:03d} is {names[0]} here, not {dataset_id.name}. Use that name, or the id.")
    return DatasetFiles(folders, names[0])


def training_files(raw: Path) -> list[Path]:
    """Every image and label, in an order that stays the same."""
    listed = listed_cases(raw)
    if listed is None:
        return [path for folder in IMAGES_AND_LABELS for path in sorted((raw / folder).glob("*"))]
    return [path for _, entry in sorted(listed.items()) for path in _all_files(raw, entry)]


def _all_files(raw: Path, entry: object) -> list[Path]:
    images, label = listed_files(raw, entry)
    return [*images, label]


def label_files(raw: Path) -> dict[str, Path]:
    """Each label file by the name that nnU-Net gives its copy (2.8.1, plan_and_preprocess_api.py:145)."""
    listed = listed_cases(raw)
    if listed is None:
        return {path.name: path for path in sorted((raw / "labelsTr").glob("*"))}
    ending = (read_json(raw / "dataset.json") or {}).get("file_ending", "")
    return {f"{case}{ending}": listed_files(raw, entry)[1] for case, entry in sorted(listed.items())}


def listed_cases(raw: Path) -> dict[str, Any] | None:
    """The cases of dataset.json's own list; None where the folders decide."""
    listed = (read_json(raw / "dataset.json") or {}).get("dataset")
    return listed if isinstance(listed, dict) else None


def listed_names(entry: object) -> tuple[list[str], str]:
    """The images and the label of an entry of that list, as they are written there."""
    content = entry if isinstance(entry, dict) else {}
    images = content.get("images")
    return [str(name) for name in (images if isinstance(images, list) else [])], str(content.get("label", ""))


def listed_path(raw: Path, name: str) -> Path:
    """The path of a listed file as nnU-Net resolves it (2.8.1, utilities/utils.py:58).

    Answers show the name as it is written in the list: the values of environment variables in it stay private.
    """
    return raw / os.path.expandvars(name)


def listed_files(raw: Path, entry: object) -> tuple[list[Path], Path]:
    """The files of an entry of that list."""
    images, label = listed_names(entry)
    return [listed_path(raw, name) for name in images], listed_path(raw, label)

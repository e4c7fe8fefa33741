"""The raw images and labels of a dataset: those in imagesTr and labelsTr, or those that dataset.json lists."""

import os
from pathlib import Path
from typing import Any

from ..files import read_json

FOLDERS = ("imagesTr", "labelsTr")


def training_files(raw: Path) -> list[Path]:
    """Every image and label, in an order that stays the same."""
    listed = listed_cases(raw)
    if listed is None:
        return [path for folder in FOLDERS for path in sorted((raw / folder).glob("*"))]
    return [path for _, entry in sorted(listed.items()) for path in _all_files(raw, entry)]


def _all_files(raw: Path, entry: object) -> list[Path]:
    images, label = listed_files(raw, entry)
    return [*images, label]


def labels(raw: Path) -> dict[str, Path]:
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
    """A listed file as nnU-Net finds it (2.8.1, utilities/utils.py:58). Answers tell the name as it is written:
    the values of variables are nobody's business."""
    return raw / os.path.expandvars(name)


def listed_files(raw: Path, entry: object) -> tuple[list[Path], Path]:
    """The files of an entry of that list."""
    images, label = listed_names(entry)
    return [listed_path(raw, name) for name in images], listed_path(raw, label)

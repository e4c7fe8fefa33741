"""Remove what an exported model would tell about this machine or about patients: absolute paths and names of cases."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .whole_images import CASE_ENDINGS

# Keys that nnU-Net v2 reads, and those that describe a dataset as a whole; lists of cases and unknown keys are left
# out.
DATASET_KEYS = (
    *("channel_names", "labels", "numTraining", "file_ending", "regions_class_order", "overwrite_image_reader_writer"),
    *("name", "description", "reference", "licence", "license", "release", "tensorImageSize"),
)
CASE_FILES = ("prediction_file", "reference_file")
WHOLE = re.compile(r"~[^\s\\/]*[\\/]|/|[A-Za-z]:[\\/]|\\\\")  # how a text begins that is one path and nothing else
FOLDER = r"[^\\/'\",;:\n]{0,80}[\\/]"  # it may have blanks in its name
ROOT = r"(?:file:/+|(?<![\w:/.~])(?:/(?=[^\s/])|[A-Za-z]:[\\/]))"
HOME = r"(?<![\w:/.~])~[^\s\\/]*[\\/]"
ABSOLUTE = re.compile(rf"(?:{ROOT}(?:{FOLDER})+|{HOME}(?:{FOLDER})*)(?P<last>[^\s'\",;:\\/]*)")


def without_paths(value: Any) -> Any:
    """The same structure; each absolute path in a text is reduced to its last part.

    >>> without_paths({"file": "/home/somebody/data/x.json", "url": "https://example.org/a/b"})
    {'file': 'x.json', 'url': 'https://example.org/a/b'}
    """
    if isinstance(value, str):
        if WHOLE.match(value) and "://" not in value:  # it may have spaces and commas in it
            return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
        return ABSOLUTE.sub(lambda match: match["last"], value)
    if isinstance(value, dict):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_paths(inner) for inner in value)
    return value


def dataset_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset.json without lists of cases."""
    kept: dict[str, Any] = without_paths({key: content[key] for key in DATASET_KEYS if key in content})
    return kept


def summary(content: Mapping[str, Any]) -> dict[str, Any]:
    """A summary.json of nnU-Net in which cases have numbers instead of names."""
    entries = enumerate(content.get("metric_per_case", []))
    numbered = [{key: _numbered(key, value, number) for key, value in entry.items()} for number, entry in entries]
    return {**content, "metric_per_case": numbered}


def _numbered(key: str, value: Any, number: int) -> Any:
    return _case_file(str(value), number) if key in CASE_FILES else value


def _case_file(file: str, number: int) -> str:
    ending = next((ending for ending in CASE_ENDINGS if file.endswith(ending)), Path(file).suffix)
    return f"case_{number:04d}{ending}"


def init_args(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a trainer, as a checkpoint keeps them."""
    found: dict[str, Any] = without_paths(dict(given))
    if isinstance(given.get("dataset_json"), dict):
        found["dataset_json"] = dataset_json(given["dataset_json"])
    return found

"""nnU-Net's postprocessing.json as data: which components are removed, without opening the pickle beside it.

Source: nnunetv2 2.8.1, postprocessing/remove_connected_components.py:24-47 and 250-262.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Refused
from ..files import read_json

LARGEST = "remove_all_but_largest_component_from_segmentation"
JSON_NAME, PICKLE_NAME = "postprocessing.json", "postprocessing.pkl"
# One label, or labels that count as one structure.
Step = int | tuple[int, ...]


def read_steps(path: Path) -> tuple[Step, ...]:
    """The labels of each step, in order; each step keeps only the largest component of its labels.

    Raises:
        Refused: the file is missing, or names anything but nnU-Net's one function.
    """
    content = read_json(path)
    names = content.get("postprocessing_fns") if isinstance(content, dict) else None
    arguments = content.get("postprocessing_kwargs") if isinstance(content, dict) else None
    if not isinstance(names, list) or not isinstance(arguments, list) or len(names) != len(arguments):
        raise Refused(f"{path} is not there or no postprocessing of nnU-Net.", about="postprocessing")
    if any(name != LARGEST for name in names) or not all(_are_labels(given) for given in arguments):
        raise Refused(f"{path} asks for functions that nnU-Net does not have. Determine the postprocessing again.")
    return tuple(_labels(given["labels_or_regions"], path) for given in arguments)


def _are_labels(given: object) -> bool:
    return isinstance(given, dict) and given.keys() == {"labels_or_regions"}


def _labels(given: Any, path: Path) -> Step:
    """The labels of a step. JSON has no tuples, so a region is a list; it covers the same voxels as its labels."""
    if isinstance(given, int):
        return given
    flat = [
        label
        for part in (given if isinstance(given, list) else [given])
        for label in (part if isinstance(part, list) else [part])
    ]
    if not flat or not all(isinstance(label, int) for label in flat):
        raise Refused(f"{path} names labels that are no numbers. Determine the postprocessing again.")
    return tuple(flat)


def describe_steps(steps: tuple[Step, ...], labels: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps in words, with the dataset's names for its labels."""
    names = {value: name for name, value in labels.items() if isinstance(value, int)}
    told = (", ".join(names.get(label, str(label)) for label in _each(step)) for step in steps)
    return tuple(f"keep only the largest component of {text}" for text in told)


def _each(step: Step) -> tuple[int, ...]:
    return (step,) if isinstance(step, int) else step

"""What nnU-Net demands of the labels in dataset.json; whatever breaks a rule ends a training at its start.

Source: nnunetv2 2.8.1, utilities/label_handling/label_handling.py:21-120.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import Refused
from ..texts import clean, some

Labels = dict[str, int | list[int]]
Thing = TypeVar("Thing", bound=Hashable)


def refuse_bad_labels(content: dict[str, Any], path: Path) -> None:
    """Check labels that are numbers and have a background, and the order of regions.

    Raises:
        Refused: nnU-Net would not take them; the message says which.
    """
    labels: Labels = content["labels"]
    values = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    flat = sorted({part for value in values.values() for part in value})
    if empty := [name for name, value in values.items() if not value]:
        raise Refused(f"{path}: labels without a value: {some(empty)}. Give each its own.")
    if flat != list(range(len(flat))):
        raise Refused(
            f"{path}: label values must be 0, 1, 2, … without gaps; they are {clean(flat)}. Renumber them here and in "
            "the label files."
        )
    if double := doubles(value for value in labels.values() if isinstance(value, int)):
        names = [name for name, value in labels.items() if value == double[0]]
        raise Refused(f"{path}: two labels have the same value {double[0]}: {some(names)}. Give each label its own.")
    _refuse_bad_ignore(labels, flat[-1], path)
    if len(flat) - ("ignore" in labels) < 2:
        raise Refused(f"{path} declares only the background. Add at least one label to segment.")
    if any(len(value) > 1 for value in values.values()):
        _refuse_bad_order(content.get("regions_class_order"), values, path)


def _refuse_bad_ignore(labels: Labels, highest: int, path: Path) -> None:
    if labels.get("ignore", highest) != highest:
        raise Refused(
            f"{path}: ignore has the value {clean(labels['ignore'])}; it must be the highest, {highest}. Renumber the "
            "labels here and in the label files."
        )


def _refuse_bad_order(order: object, values: dict[str, list[int]], path: Path) -> None:
    regions = [name for name, value in values.items() if name != "ignore" and set(value) != {0}]
    if not isinstance(order, list) or len(order) != len(regions) or not all(isinstance(part, int) for part in order):
        raise Refused(
            f"{path} declares regions, so it needs regions_class_order: the {len(regions)} values that are written for "
            f"{some(regions)}, the enclosing regions first; it has {clean(repr(order))}."
        )


def doubles(things: Iterable[Thing]) -> list[Thing]:
    """Those that occur more than once."""
    return [thing for thing, count in Counter(things).items() if count > 1]

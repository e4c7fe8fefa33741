"""The answer about one dataset in few characters; what it leaves out is there on request."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import TypeVar

from ....schemas.datasets import DatasetDetails
from ....texts import first
from ..findings import bounded

MOST_CHARACTERS = 2500
AROUND = 450  # of them for the raw folder and the next step
Value = TypeVar("Value")
Cut = Callable[[DatasetDetails], dict[str, object]]


def brief(details: DatasetDetails) -> DatasetDetails:
    """The same, cut where it is too long: what is longest to read goes first, what is wrong goes last."""
    for cut in CUTS:
        if _length(details) <= MOST_CHARACTERS - AROUND:
            break
        details = details.model_copy(update=cut(details))
    return details


def _length(details: DatasetDetails) -> int:
    return len(details.model_dump_json(exclude_defaults=True))


def _some(values: Mapping[str, Value], most: int) -> dict[str, Value]:
    return dict(islice(values.items(), most))


def _plans(details: DatasetDetails) -> dict[str, object]:
    return {"plans": _some(details.plans, 3), "plans_ahead": _some(details.plans_ahead, 3)}


def _lists(details: DatasetDetails) -> dict[str, object]:
    return {
        "channels": first(details.channels, 6),
        "labels": first(details.labels, 8),
        "preprocessed": first(details.preprocessed, 4),
        "trained": details.trained[:3],
        "intensities": details.intensities[:4],
        "label_statistics": _some(details.label_statistics, 8),
        "outliers": _some(details.outliers, 4),
    }


def _sentences(details: DatasetDetails) -> dict[str, object]:
    return {"problems": bounded(list(details.problems), 900), "warnings": bounded(list(details.warnings), 400)}


def _less(details: DatasetDetails) -> dict[str, object]:
    return {
        "plans": {},
        "plans_ahead": _some(details.plans_ahead, 1),
        "fingerprint": None,
        "trained": details.trained[:1],
        "label_statistics": _some(details.label_statistics, 4),
        "intensities": details.intensities[:1],
        "outliers": _some(details.outliers, 2),
    }


def _least(details: DatasetDetails) -> dict[str, object]:
    nothing: dict[str, object] = {
        "plans_ahead": {},
        "label_statistics": {},
        "intensities": (),
        "mixed": (),
        "outliers": {},
        "trained": (),
    }
    sentences = {"problems": bounded(list(details.problems), 500), "warnings": bounded(list(details.warnings), 200)}
    return {**nothing, **sentences, "channels": first(details.channels, 2), "labels": first(details.labels, 3)}


CUTS: tuple[Cut, ...] = (_plans, _lists, _sentences, _less, _least)

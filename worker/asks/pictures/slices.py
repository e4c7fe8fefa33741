"""Choose the slices of a case to show: where the structure is largest, the same in all its images."""

from dataclasses import dataclass
from typing import Any

from ....schemas.plots import CasePicture
from .style import NothingToShow
from .volumes import NORMAL, View, Volume, read_volume, views_through


@dataclass(frozen=True)
class Shown:
    """The slices of one case in one view."""

    view: View
    image: Any
    truth: Any
    prediction: Any | None
    heading: str
    flat: bool


def slices_of(case: CasePicture, *, planes: bool) -> list[Shown]:
    """Read the volumes of a case one after the other, and keep one slice, or one of each plane.

    Raises:
        NothingToShow: a file cannot be read, or the shapes differ.
    """
    truth = read_volume(case.truth)
    mask = truth.voxels > 0
    prediction = read_volume(case.prediction) if case.prediction else None
    if prediction is not None:
        _same_shape(truth, prediction, case)
        mask = mask | (prediction.voxels > 0)
    views = views_through(mask, truth)[: None if planes else 1]
    truths = [view.of(truth).copy() for view in views]
    predictions = [view.of(prediction).copy() for view in views] if prediction is not None else [None] * len(views)
    del mask, prediction
    image = read_volume(case.image)
    _same_shape(truth, image, case)
    headings = [_heading(case, view, image, planes=planes) for view in views]
    return [
        Shown(view, view.of(image).copy(), *slices, heading, image.flat)
        for view, slices, heading in zip(views, zip(truths, predictions, strict=True), headings, strict=True)
    ]


def _same_shape(truth: Volume, other: Volume, case: CasePicture) -> None:
    if truth.voxels.shape[:3] != other.voxels.shape[:3]:
        raise NothingToShow(
            f"Case {case.name}: the labels have the shape {truth.voxels.shape[:3]}, the image or prediction "
            f"{other.voxels.shape[:3]}. They must be the same."
        )


def _heading(case: CasePicture, view: View, image: Volume, *, planes: bool) -> str:
    if image.flat:
        return case.name
    where = f"{view.plane}, slice {view.number + 1} of {image.voxels.shape[NORMAL[view.plane]]}"
    return where if planes else f"{case.name}\n{where}"

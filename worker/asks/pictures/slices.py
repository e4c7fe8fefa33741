"""Read a case and keep the slices that are shown, the same in all its images, and what has to be said in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy

from ....schemas.plots import CasePicture
from .style import NothingToShow
from .views import NORMAL, View, finest_plane, views_of
from .volumes import Volume, read_volume

# More values are no classes, but an image in the place of labels.
MOST_CLASSES = 500


@dataclass(frozen=True)
class Shown:
    """The slices of one case in one view."""

    view: View
    image: Any
    truth: Any
    prediction: Any | None
    heading: str
    flat: bool
    unit: str


@dataclass(frozen=True)
class ReadCase:
    """The slices of one case, its classes, and the volume of its voxels."""

    case: CasePicture
    shown: list[Shown]
    present: list[int]
    voxel_ml: float | None
    remarks: list[str]

    @property
    def unseen(self) -> list[int]:
        """The classes that no slice shows."""
        slices = [part for one in self.shown for part in (one.truth, one.prediction) if part is not None]
        return [value for value in self.present if not any((part == value).any() for part in slices)]


def read_case(case: CasePicture, *, planes: bool, more: int) -> ReadCase:
    """Read the volumes of a case one after the other, and keep one slice, or one of each plane and `more`.

    Raises:
        NothingToShow: a file cannot be read, or the shapes differ.
    """
    truth = read_volume(case.truth)
    prediction = read_volume(case.prediction) if case.prediction else None
    labels = {"truth": truth, **({"prediction": prediction} if prediction else {})}
    if prediction is not None:
        _same_shape(truth, prediction, case)
    mask, empty = _foreground(labels)
    areas = _areas(list(labels.values()), NORMAL[finest_plane(truth)])
    views = views_of(mask, truth, areas, planes=planes, more=more)
    truths = [view.of(truth).copy() for view in views]
    predictions = [view.of(prediction).copy() for view in views] if prediction is not None else [None] * len(views)
    del mask, prediction, labels
    image = read_volume(case.image)
    _same_shape(truth, image, case)
    headings = [_heading(case, view, image, planes=planes) for view in views]
    shown = [
        Shown(view, view.of(image).copy(), *slices, heading, image.flat, truth.unit)
        for view, slices, heading in zip(views, zip(truths, predictions, strict=True), headings, strict=True)
    ]
    return ReadCase(case, shown, sorted(areas), truth.voxel_ml, empty)


def _foreground(labels: Mapping[str, Volume]) -> tuple[Any, list[str]]:
    """Where any of them has a class, and a sentence for each that has none."""
    mask, empty = None, []
    for name, volume in labels.items():
        where = volume.voxels > 0
        empty += [] if where.any() else [f"The {name} is empty: it has nothing but background."]
        mask = where if mask is None else numpy.logical_or(mask, where, out=mask)
    return mask, empty


def _areas(labels: list[Volume], normal: int) -> Mapping[int, Any]:
    """Of each class the voxels in each slice, truth and prediction together."""
    slices = labels[0].voxels.shape[normal]
    found: dict[int, Any] = {}
    for volume in labels:
        for number, part in enumerate(numpy.moveaxis(volume.voxels, normal, 0)):
            for value, count in zip(*numpy.unique(part[part > 0], return_counts=True), strict=True):
                if int(value) in found or len(found) < MOST_CLASSES:
                    found.setdefault(int(value), numpy.zeros(slices, int))[number] += count
    return found


def _same_shape(truth: Volume, other: Volume, case: CasePicture) -> None:
    if truth.voxels.shape[:3] != other.voxels.shape[:3]:
        raise NothingToShow(
            f"Case {case.name}: the labels have the shape {truth.voxels.shape[:3]}, the image or prediction "
            f"{other.voxels.shape[:3]}. They must be the same."
        )


def _heading(case: CasePicture, view: View, image: Volume, *, planes: bool) -> str:
    if image.flat:
        return case.name
    where = f"{view.plane}, {view.number + 1} of {image.voxels.shape[NORMAL[view.plane]]}"
    return where if planes else f"{case.name}\n{where}"

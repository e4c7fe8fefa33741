"""Choose what to show of a volume: planes, slices and the part of them around the structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy

from .volumes import Volume

# Which side is at the first row and the first column of each plane, in LPS coordinates.
PLANES = {"axial": (("A", "P"), ("R", "L")), "coronal": (("S", "I"), ("R", "L")), "sagittal": (("S", "I"), ("A", "P"))}
NORMAL = {"axial": 0, "coronal": 1, "sagittal": 2}
MARGIN = 0.6
SMALLEST_SHARE = 0.25
# A slice shows a class if it has at least this share of the class's largest area.
WELL = 0.5


@dataclass(frozen=True)
class View:
    """The part of a slice that is shown: the number of the slice, rows and columns, and the size of a pixel.

    `cut` is where the other two planes cross it, as x and y from its upper left corner, in the volume's unit.
    """

    plane: str
    number: int
    rows: slice
    columns: slice
    pixel: tuple[float, float]
    cut: tuple[float, float] | None = None

    @property
    def height(self) -> float:
        """In the volume's unit."""
        return float(self.rows.stop - self.rows.start) * self.pixel[0]

    @property
    def width(self) -> float:
        """In the volume's unit."""
        return float(self.columns.stop - self.columns.start) * self.pixel[1]

    def of(self, volume: Volume) -> Any:
        """The slice, with its first row at the top."""
        cut: list[Any] = [slice(None)] * 3
        cut[NORMAL[self.plane]] = self.number
        picture = volume.voxels[tuple(cut)]
        if self.plane != "axial":
            picture = picture[::-1]  # the head is at the end of the first axis
        return picture[self.rows, self.columns]


def views_of(mask: Any, volume: Volume, areas: Mapping[int, Any], *, planes: bool, more: int) -> list[View]:
    """The slice with most of the structure: of the plane with the smallest pixels, or of each plane and then of the
    first up to `more` slices for classes that it hardly shows. One view of a 2D image.

    `areas` has of each class the voxels in each slice of that plane.
    """
    finest = finest_plane(volume)
    if volume.flat or not planes:
        return [_view(finest, mask, volume, _fullest(mask, NORMAL[finest]))]
    at = {plane: _fullest(mask, axis) for plane, axis in NORMAL.items()}
    views = [_crossed(_view(plane, mask, volume, at[plane]), volume, at) for plane in NORMAL]
    further = slices_for(areas, [at[finest]], more)
    return views + [_view(finest, mask, volume, number) for number in further]


def finest_plane(volume: Volume) -> str:
    """The plane across the thickest slices; axial where no other is finer."""
    thickness = 1 if volume.flat else numpy.argmax(numpy.round(volume.spacing, 2))
    return "axial" if volume.flat else list(NORMAL)[int(thickness)]


def slices_for(areas: Mapping[int, Any], shown: Sequence[int], most: int) -> list[int]:
    """Further slices, each for as many classes as it can, until every class is shown well or there are `most`."""
    fit = {value: along >= WELL * along.max() for value, along in areas.items()}
    left = {value: good for value, good in fit.items() if not good[list(shown)].any()}
    found: list[int] = []
    while left and len(found) < most:
        found.append(int(sum(good.astype(int) for good in left.values()).argmax()))
        left = {value: good for value, good in left.items() if not good[found[-1]]}
    return sorted(found)


def _view(plane: str, mask: Any, volume: Volume, number: int) -> View:
    rows, columns = (axis for axis in range(3) if axis != NORMAL[plane])
    ranges = [_range(mask, axis) for axis in (rows, columns)]
    if plane != "axial":
        ranges[0] = slice(mask.shape[rows] - ranges[0].stop, mask.shape[rows] - ranges[0].start)
    return View(plane, number, ranges[0], ranges[1], (volume.spacing[rows], volume.spacing[columns]))


def _crossed(view: View, volume: Volume, at: Mapping[str, int]) -> View:
    """The same with the mark of the other planes, through the middle of their voxels."""
    number = list(at.values())
    rows, columns = (axis for axis in range(3) if axis != NORMAL[view.plane])
    row = number[rows] if view.plane == "axial" else volume.voxels.shape[rows] - 1 - number[rows]
    x = (number[columns] - view.columns.start + 0.5) * view.pixel[1]
    return replace(view, cut=(x, (row - view.rows.start + 0.5) * view.pixel[0]))


def _fullest(mask: Any, axis: int) -> int:
    area = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    return int(area.argmax()) if area.any() else int(mask.shape[axis]) // 2


def _range(mask: Any, axis: int) -> slice:
    """The extent of the structure along one axis with a margin, but at least a quarter of the image."""
    size = mask.shape[axis]
    positions = numpy.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
    if not len(positions):
        return slice(0, size)
    first, last = int(positions[0]), int(positions[-1]) + 1
    wanted = max((last - first) * (1 + MARGIN), size * SMALLEST_SHARE)
    middle = (first + last) / 2
    return slice(max(0, int(middle - wanted / 2)), min(size, int(middle + wanted / 2) + 1))

"""Images turned to the usual orientation of slices: the patient's right on the left, head or front at the top.

Only one volume is in memory at a time, in the type it was stored in.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import SimpleITK

from ....files import DESCRIPTION_BYTES, read_plain
from ....whole_images import voxels_elsewhere
from .style import NothingToShow

# Which side is at the first row and the first column of each plane, in LPS coordinates.
PLANES = {"axial": (("A", "P"), ("R", "L")), "coronal": (("S", "I"), ("R", "L")), "sagittal": (("S", "I"), ("A", "P"))}
NORMAL = {"axial": 0, "coronal": 1, "sagittal": 2}
MARGIN = 0.6
SMALLEST_SHARE = 0.25


@dataclass(frozen=True)
class Volume:
    """Voxels (slices, rows, columns[, colours]): from head to foot reversed, front to back, right to left (LPS).

    A 2D image has one slice. `spacing` in mm along the first three axes.
    """

    voxels: Any
    spacing: tuple[float, float, float]
    flat: bool


def read_volume(path: str) -> Volume:
    """Read an image file and turn it to LPS axes without copying.

    Raises:
        NothingToShow: the file cannot be read as an image of two or three dimensions.
    """
    if why := voxels_elsewhere(Path(path)):
        raise NothingToShow(f"{Path(path).name}: {why}.")
    try:
        image = SimpleITK.ReadImage(path)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise NothingToShow(f"{Path(path).name} cannot be read as an image: {last}") from None
    if image.GetDimension() == 2:
        return Volume(SimpleITK.GetArrayFromImage(image)[None], (1.0, *image.GetSpacing()[::-1]), flat=True)
    if image.GetDimension() != 3:
        raise NothingToShow(f"{Path(path).name} has {image.GetDimension()} dimensions; 2D and 3D images can be shown.")
    order, flips = _to_lps(numpy.array(image.GetDirection()).reshape(3, 3))
    along = image.GetSpacing() if not path.endswith((".tif", ".tiff")) else _tiff_spacing(path)
    voxels = numpy.transpose(SimpleITK.GetArrayFromImage(image), [2 - axis for axis in order] + _colours(image))
    voxels = voxels[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    spacing = (float(along[order[0]]), float(along[order[1]]), float(along[order[2]]))
    return Volume(voxels, spacing, flat=voxels.shape[0] == 1)


def _colours(image: SimpleITK.Image) -> list[int]:
    return [3] if image.GetNumberOfComponentsPerPixel() > 1 else []


def _to_lps(direction: Any) -> tuple[list[int], list[bool]]:
    """For S, P and L: which axis of the image runs along it, and whether in the other direction."""
    order, flips = [], []
    left = {0, 1, 2}
    for physical in (2, 1, 0):
        axis = max(left, key=lambda candidate: abs(direction[physical, candidate]))
        left.discard(axis)
        order.append(axis)
        flips.append(bool(direction[physical, axis] < 0))
    return order, flips


def _tiff_spacing(path: str) -> tuple[float, float, float]:
    """nnU-Net keeps a TIFF's spacing in a JSON beside it (nnunetv2 2.8.1, tif_reader_writer.py:40-60)."""
    stem = path[: path.rindex(".")]
    for beside in (f"{stem}.json", f"{stem.removesuffix('_0000')}.json"):
        if Path(beside).is_file():
            found = json.loads(read_plain(Path(beside), most=DESCRIPTION_BYTES)).get("spacing", (1, 1, 1))
            return (found[2], found[1], found[0])
    return (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """The part of a slice that is shown: the number of the slice, rows and columns, and the shape of the pixels."""

    plane: str
    number: int
    rows: slice
    columns: slice
    aspect: float

    def of(self, volume: Volume) -> Any:
        """The slice, with its first row at the top."""
        cut: list[Any] = [slice(None)] * 3
        cut[NORMAL[self.plane]] = self.number
        picture = volume.voxels[tuple(cut)]
        if self.plane != "axial":
            picture = picture[::-1]  # the head is at the end of the first axis
        return picture[self.rows, self.columns]


def views_through(mask: Any, volume: Volume) -> list[View]:
    """A view in each plane, where the structure is largest, cropped around it; one view of a 2D image."""
    return [_view(plane, mask, volume) for plane in (["axial"] if volume.flat else PLANES)]


def _view(plane: str, mask: Any, volume: Volume) -> View:
    normal = NORMAL[plane]
    rows, columns = (axis for axis in range(3) if axis != normal)
    area = mask.sum(axis=(rows, columns))
    number = int(area.argmax()) if area.any() else mask.shape[normal] // 2
    ranges = [_range(mask, axis) for axis in (rows, columns)]
    if plane != "axial":
        ranges[0] = _mirrored(ranges[0], mask.shape[rows])
    return View(plane, number, ranges[0], ranges[1], volume.spacing[rows] / volume.spacing[columns])


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


def _mirrored(part: slice, size: int) -> slice:
    return slice(size - part.stop, size - part.start)

"""Images turned to the usual orientation of slices: the patient's right on the left, head or front at the top.

Only one volume is in memory at a time, in the type it was stored in.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
import SimpleITK

from ....files import DESCRIPTION_BYTES, read_plain
from ....image_files import PICTURES, TIFF
from ....whole_images import voxels_elsewhere
from .style import NothingToShow


@dataclass(frozen=True)
class Volume:
    """Voxels (slices, rows, columns[, colours]): from head to foot reversed, front to back, right to left (LPS).

    A 2D image has one slice. `spacing` in mm along the first three axes, or in pixels where no file tells it.
    """

    voxels: Any
    spacing: tuple[float, float, float]
    flat: bool
    unit: Literal["mm", "px"] = "mm"

    @property
    def voxel_ml(self) -> float | None:
        """The volume of a voxel; unknown without a spacing or a third axis."""
        return None if self.flat or self.unit == "px" else math.prod(self.spacing) / 1000


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
        return _flat(path, image)
    if image.GetDimension() != 3:
        raise NothingToShow(f"{Path(path).name} has {image.GetDimension()} dimensions; 2D and 3D images can be shown.")
    order, flips = _to_lps(numpy.array(image.GetDirection()).reshape(3, 3))
    found = _tiff_spacing(path) if path.lower().endswith(TIFF) else list(image.GetSpacing())
    known = _is_spacing(found)
    along = found if known else [1.0, 1.0, 1.0]
    voxels = numpy.transpose(SimpleITK.GetArrayFromImage(image), [2 - axis for axis in order] + _colours(image))
    voxels = voxels[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    spacing = (float(along[order[0]]), float(along[order[1]]), float(along[order[2]]))
    return Volume(voxels, spacing, flat=voxels.shape[0] == 1, unit="mm" if known else "px")


def _flat(path: str, image: SimpleITK.Image) -> Volume:
    """A picture has no spacing: what its file says of dots per inch is about screens and printers."""
    pixels = path.lower().endswith((*PICTURES, *TIFF))
    rows, columns = (1.0, 1.0) if pixels else image.GetSpacing()[::-1]
    return Volume(SimpleITK.GetArrayFromImage(image)[None], (1.0, rows, columns), True, "px" if pixels else "mm")


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


def _tiff_spacing(path: str) -> Any:
    """nnU-Net keeps a TIFF's spacing in a JSON beside it (nnunetv2 2.8.1, tif_reader_writer.py:40-60)."""
    stem = path[: path.rindex(".")]
    for beside in (f"{stem}.json", f"{stem.removesuffix('_0000')}.json"):
        if Path(beside).is_file():
            told = json.loads(read_plain(Path(beside), most=DESCRIPTION_BYTES))
            found = told.get("spacing") if isinstance(told, dict) else None
            return found[::-1] if isinstance(found, list) else None
    return None


def _is_spacing(found: object) -> bool:
    """Whether a file really tells three lengths."""
    numbers = found if isinstance(found, list) and len(found) == 3 else [0]
    return all(isinstance(number, int | float) and 0 < number < math.inf for number in numbers)

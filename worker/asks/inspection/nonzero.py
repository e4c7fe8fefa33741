"""The part of an image that is not zero: nnU-Net crops to it before it plans.

Source: nnunetv2 2.8.1, preprocessing/cropping/cropping.py:6-37.
"""

import math
from typing import Any

import numpy

# An image has far fewer lines of voxels, and far shorter ones; a broken header may promise any number.
MOST_LINES = 1 << 26


class NonZero:
    """Finds the box from blocks of voxels in the order of the file, x fastest; channels follow each other.

    nnU-Net also fills holes, which never widens the box.
    """

    def __init__(self, shape: tuple[int, ...], voxels: int, zero: float) -> None:
        self._shape, self._zero, self._at = shape, zero, 0
        self._lines = numpy.zeros(voxels // shape[-1], bool)
        self._columns = numpy.zeros(shape[-1], bool)

    @classmethod
    def of(cls, shape: tuple[int, ...], voxels: int, zero: float) -> "NonZero | None":
        """None where the shape is that of no image."""
        sound = len(shape) == 3 and min(shape) > 0 and voxels % math.prod(shape) == 0
        return cls(shape, voxels, zero) if sound and max(voxels // shape[-1], shape[-1]) <= MOST_LINES else None

    def add(self, block: Any) -> None:
        """The next voxels; a block may end within a line."""
        width = self._shape[-1]
        first, before = divmod(self._at, width)
        self._at += block.size
        there, after = block != self._zero, -self._at % width
        if before or after:
            there = numpy.pad(there, (before, after))
        there = there.reshape(-1, width)
        self._lines[first : first + len(there)] |= there.any(axis=1)
        if not self._columns.all():
            self._columns |= there.any(axis=0)

    def box(self) -> tuple[tuple[int, int], ...]:
        """First voxel and the one after the last, along z, y, x; the whole image where everything is zero."""
        planes: Any = self._lines.reshape(-1, *self._shape[:-1]).any(axis=0)
        axes = (planes.any(axis=1), planes.any(axis=0), self._columns)
        return tuple(_ends(axis) for axis in axes)


def _ends(occupied: Any) -> tuple[int, int]:
    found = numpy.flatnonzero(occupied)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, len(occupied))

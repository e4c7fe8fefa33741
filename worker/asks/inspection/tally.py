"""Statistics of an image in one pass over blocks of voxels, so that no volume is in memory as a whole."""

import zlib
from typing import Any

import numpy

from ....schemas.datasets import FileLook, LabelLook, ValueRange
from .nonzero import NonZero

BLOCK = 1 << 19  # voxels
SAMPLE = 20_000
QUANTILES = (0.005, 0.5, 0.995)
COUNTED = 1 << 16
DISTINCT = 1000


def stride(voxels: int) -> int:
    """Every how many voxels one is drawn into the sample."""
    return max(1, int(voxels) // SAMPLE)


class Tally:
    """The statistics of the values seen so far, of an image of this shape (z, y, x) whose zero is stored as `zero`."""

    crops = True

    def __init__(self, voxels: int, shape: tuple[int, ...] = (), zero: float = 0.0) -> None:
        self._nonzero = NonZero.of(shape, voxels, zero) if self.crops else None
        self._step = stride(voxels)
        self._next = 0
        self._sample: list[Any] = []
        self._checksum, self._sum = 0, 0
        self.not_numbers = self.infinite = 0
        self.lowest = self.highest = numpy.nan

    def add(self, block: Any) -> None:
        """A flat array, in the type the file has."""
        self._mark(numpy.ascontiguousarray(block).view(numpy.uint8))
        self._draw(block)
        if self._nonzero is not None:
            self._nonzero.add(block)
        self._bound(self._finite(block))

    def _mark(self, content: Any) -> None:
        """CRC-32 and the sum of all words tell images apart, at a fifth of the time of a hash."""
        self._checksum = zlib.crc32(content.data, self._checksum)
        whole = content.size - content.size % 8
        self._sum = (self._sum + int(content[:whole].view(numpy.uint64).sum())) % (1 << 64)

    def _finite(self, block: Any) -> Any:
        if block.dtype.kind != "f":
            return block
        finite = numpy.isfinite(block)
        if finite.all():
            return block
        not_numbers = int(numpy.isnan(block).sum())
        self.not_numbers += not_numbers
        self.infinite += int(block.size - finite.sum()) - not_numbers
        return block[finite]

    def _draw(self, block: Any) -> None:
        drawn = block[self._next :: self._step]
        self._next = (self._next - block.size) % self._step
        self._sample.append(drawn.astype(float))

    def _bound(self, block: Any) -> None:
        if block.size:
            self.lowest = numpy.fmin(self.lowest, float(block.min()))
            self.highest = numpy.fmax(self.highest, float(block.max()))

    def fields(self, slope: float = 1.0, intercept: float = 0.0) -> dict[str, Any]:
        """The fields of a FileLook. The scaling of a NIfTI file is applied here, to the results, where it costs
        nothing."""
        found: dict[str, Any] = {
            "digest": f"{self._checksum:08x}{self._sum:016x}",
            "not_numbers": self.not_numbers,
            "infinite": self.infinite,
            "box": self._nonzero.box() if self._nonzero is not None else (),
        }
        if numpy.isnan(self.lowest):
            return found
        sample = numpy.concatenate(self._sample)
        finite = sample[numpy.isfinite(sample)]
        quantiles = numpy.quantile(finite if finite.size else [self.lowest], QUANTILES)
        ends = sorted([self.lowest * slope + intercept, self.highest * slope + intercept])
        scaled = sorted((quantiles * slope + intercept).tolist())
        if not numpy.isfinite([*ends, *scaled]).all():
            return found
        found |= {"lowest": ends[0], "highest": ends[1], "quantiles": tuple(scaled)}
        return {**found, "sample": sample * slope + intercept}

    def look(self, **known: Any) -> FileLook:
        """The whole look."""
        return FileLook(**known)


class LabelTally(Tally):
    """A tally that also counts each value."""

    crops = False

    def __init__(self, voxels: int, shape: tuple[int, ...] = (), zero: float = 0.0) -> None:
        super().__init__(voxels, shape, zero)
        self.values: dict[float, int] = {}
        self.uncounted = 0

    def add(self, block: Any) -> None:
        super().add(block)
        values, counts = _counts(block[numpy.isfinite(block)] if block.dtype.kind == "f" else block)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value in self.values or len(self.values) < DISTINCT:
                self.values[value] = self.values.get(value, 0) + int(count)
            else:
                self.uncounted += int(count)

    def fields(self, slope: float = 1.0, intercept: float = 0.0) -> dict[str, Any]:
        whole: dict[int, int] = {}
        fractional = 0
        for value, count in self.values.items():
            scaled = float(numpy.float32(value * slope + intercept))  # as nnU-Net reads it
            if scaled == round(scaled):
                whole[round(scaled)] = whole.get(round(scaled), 0) + count
            else:
                fractional += count
        counted = {"values": dict(sorted(whole.items())), "fractional": fractional, "uncounted": self.uncounted}
        return {**super().fields(slope, intercept), **counted}

    def look(self, **known: Any) -> LabelLook:
        return LabelLook(**known)


def _counts(block: Any) -> tuple[Any, Any]:
    """Each value and how often it occurs. Small whole numbers are counted without sorting."""
    if not block.size:
        return block, block
    lowest, highest = block.min(), block.max()
    if lowest == highest:  # most blocks of a label are background alone
        return block[:1], numpy.array([block.size])
    if lowest >= 0 and highest < COUNTED:
        whole = block.astype(numpy.intp, copy=False)
        if block.dtype.kind != "f" or (whole == block).all():
            counts = numpy.bincount(whole)
            values = numpy.flatnonzero(counts)
            return values, counts[values]
    values, counts = numpy.unique(block, return_counts=True)
    return values, counts


def blocks_of(array: Any) -> Any:
    """A whole array in flat blocks."""
    flat = array.reshape(-1)
    return (flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK))


def range_of(pixels: Any) -> ValueRange:
    """The values of one colour of a picture."""
    sample = pixels.reshape(-1)[:: stride(pixels.size)]
    quantiles = tuple(numpy.quantile(sample, QUANTILES).tolist())
    return ValueRange(lowest=float(pixels.min()), highest=float(pixels.max()), quantiles=quantiles)

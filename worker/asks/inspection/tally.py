"""Statistics of an image in one pass over blocks of voxels, so that no volume is in memory as a whole."""

import hashlib
from typing import Any

import numpy

from ....schemas.datasets import FileLook, LabelLook

BLOCK = 1 << 19  # voxels
SAMPLE = 20_000
QUANTILES = (0.005, 0.5, 0.995)
COUNTED = 1 << 16
DISTINCT = 1000


def stride(voxels: int) -> int:
    """Every how many voxels one is drawn into the sample."""
    return max(1, int(voxels) // SAMPLE)


class Tally:
    """The statistics of the values seen so far."""

    def __init__(self, voxels: int) -> None:
        self._step = stride(voxels)
        self._next = 0
        self._sample: list[Any] = []
        self._digest = hashlib.blake2b(digest_size=12)
        self.not_numbers = self.infinite = 0
        self.lowest = self.highest = numpy.nan

    def add(self, block: Any) -> None:
        """A flat array, in the type the file has."""
        self._digest.update(numpy.ascontiguousarray(block).view(numpy.uint8).data)
        self._draw(block)
        self._bound(self._finite(block))

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
            "digest": self._digest.hexdigest(),
            "not_numbers": self.not_numbers,
            "infinite": self.infinite,
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

    def __init__(self, voxels: int) -> None:
        super().__init__(voxels)
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
    if block.size and block.min() >= 0 and block.max() < COUNTED:
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

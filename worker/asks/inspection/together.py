"""What an image and its label show only together, from a sample of voxels drawn at the same places of both."""

from collections.abc import Sequence
from typing import Any

import numpy

from ....schemas.datasets import FileLook, LabelLook
from .tally import stride

FEWEST = 10  # sampled voxels of a label: fewer say nothing of its mean
MOST_VALUES = 64


def together(images: Sequence[FileLook], label: LabelLook) -> dict[str, Any]:
    """The mean of each channel within each label value, and in how many slices there are labels."""
    if label.sample is None or label.channels > 1:
        return {}
    values = label.sample
    return {"means": _means(images, label, values), "slices": _slices(label, values)}


def _means(images: Sequence[FileLook], label: LabelLook, values: Any) -> dict[int, tuple[float, ...]]:
    if not all(image.sample is not None and image.channels == 1 and image.shape == label.shape for image in images):
        return {}
    counted = sorted(label.values, key=lambda value: -label.values[value])[:MOST_VALUES]
    found = {}
    for value in sorted(counted):
        inside = values == value
        if numpy.count_nonzero(inside) >= FEWEST:
            means = tuple(float(image.sample[inside].mean()) for image in images)
            found.update({value: means} if numpy.isfinite(means).all() else {})
    return found


def _slices(label: LabelLook, values: Any) -> tuple[int, int] | None:
    """Only along the slowest axis: along the others the places of a sample repeat."""
    lengths = label.shape
    places = numpy.flatnonzero(values > 0) * stride(numpy.prod(lengths, dtype=int))
    if len(places) < FEWEST or len(lengths) != 3 or lengths[0] == 1:
        return None
    slices = numpy.unique(places // (lengths[1] * lengths[2]))
    return len(slices), int(slices[-1] - slices[0] + 1)

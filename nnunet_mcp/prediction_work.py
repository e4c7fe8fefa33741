"""What predicting an image costs: passes of the network, and bytes of memory and disk, from the plans and its size.

Shapes and spacings run along z, y, x, as nnU-Net's readers give them. That nnU-Net cuts images to what is not zero is
left out: real figures are at most these.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Lengths = Sequence[float]
# Of voxels and of mm; beyond it nothing is an image, and figures overflow.
SHORTEST, LONGEST = 1e-6, 1e6
# Bytes of a voxel: nnU-Net keeps logits as half floats and resamples them as doubles, an image as floats and doubles
# (nnunetv2 2.8.1, predict_from_raw_data.py:590, default_resampling.py:133-137).
HALF, FLOAT, DOUBLE = 2, 4, 8
SHORT, LONG = 2, 8
# Coordinates and copies of one class while it is resampled (skimage's resize, map_coordinates with its mgrid).
RESAMPLING = 7 * DOUBLE
# A process that has imported PyTorch and nnU-Net: 0.76 GB resident were measured. What comes on top is 1.1 to 1.7 times
# what was measured of nnU-Net's functions with 12 classes, resampled and not, with and without .npz.
PROCESS = 0.8e9


def is_possible(lengths: Lengths) -> bool:
    """Whether voxels or mm are those of an image; a file may say anything."""
    return all(SHORTEST <= length <= LONGEST for length in lengths)


@dataclass(frozen=True)
class Memory:
    """Bytes that one image takes at most: in a process that prepares, in the one that predicts, in one that writes, and
    while it waits for the one that predicts, prepared."""

    prepares: float
    predicts: float
    writes: float
    waits: float = 0.0


@dataclass(frozen=True)
class Network:
    """What the plans say of a model that predicts."""

    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    transpose: tuple[int, ...]
    usual_shape: tuple[float, ...]  # the median of the training images, resampled
    channels: int
    classes: int  # that the network tells apart, background included unless they are regions
    regions: bool
    folds: int

    @classmethod
    def of(
        cls, planned: Mapping[str, Any] | None, plans: Mapping[str, Any], described: Mapping[str, Any], folds: int
    ) -> "Network | None":
        """By the configuration as it is planned, the plans around it, and dataset.json; None where they do not say it:
        they may be anybody's."""
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            plan = planned or {}
            labels: Mapping[str, Any] = described["labels"]
            regions = any(isinstance(value, list) for value in labels.values())
            median = plan["median_image_size_in_voxels"]
            slices = plans["original_median_shape_after_transp"][: 3 - len(median)]  # that a 2D network sees one by one
            found = cls(
                patch=tuple(int(length) for length in plan["patch_size"]),
                spacing=tuple(float(length) for length in plan["spacing"]),
                transpose=tuple(int(axis) for axis in plans["transpose_forward"]),
                usual_shape=tuple(float(length) for length in (*slices, *median)),
                channels=max(1, len(described.get("channel_names") or described.get("modality") or {})),
                classes=len(labels) - ("ignore" in labels) - regions,
                regions=regions,
                folds=folds,
            )
            return found if found._is_possible() else None
        return None

    def _is_possible(self) -> bool:
        lengths = (*self.patch, *self.spacing, *self.usual_shape)
        axes = len(self.patch) == len(self.spacing) in (2, 3) and len(self.usual_shape) == 3
        return axes and sorted(self.transpose) == [0, 1, 2] and is_possible(lengths)

    def resampled(self, shape: Lengths, spacing: Lengths) -> tuple[int, ...]:
        """The shape that the network sees; a 2D network sees every slice as it is.

        Source: nnunetv2 2.8.1, preprocessing/resampling/default_resampling.py:compute_new_shape.
        """
        shape, spacing = ([one[axis] for axis in self.transpose] for one in (shape, spacing))
        target = self.spacing if len(self.spacing) == len(shape) else (spacing[0], *self.spacing)
        return tuple(max(1, round(old / new * length)) for old, new, length in zip(spacing, target, shape, strict=True))

    def passes(self, seen: Sequence[int], step_size: float, mirroring: bool) -> int:
        """How often the network computes a patch for an image that it sees in this shape.

        Source: nnunetv2 2.8.1, inference/sliding_window_prediction.py:35 and predict_from_raw_data.py:541-558.
        """
        window = seen[-len(self.patch) :]
        slices = math.prod(seen[: -len(self.patch)])
        steps = (
            math.ceil(max(0, length - patch) / (patch * step_size)) + 1
            for length, patch in zip(window, self.patch, strict=True)
        )
        return slices * math.prod(steps) * (2 ** len(self.patch) if mirroring else 1) * self.folds

    def memory(self, shape: Lengths, seen: Sequence[int], *, npz: bool, uncertainty: bool) -> Memory:
        """For an image of this shape that the network sees in the shape `seen`."""
        old, new = math.prod(shape), math.prod(max(pair) for pair in self._padded(seen))
        as_read, logits = self.channels * FLOAT, self.classes * HALF
        resampled = (self.classes * (HALF + DOUBLE) * new + logits * old + RESAMPLING * old) if old != new else 0
        # softmax or sigmoid as floats, its result, and for .npz a copy of the whole image
        floats = (2 if self.regions else 0) + (3 if npz else 0)
        judged = logits * max(old, new) + self.classes * floats * FLOAT * old + DOUBLE * old
        # The logits of this image, of several folds their sum and the next fold's; those of the image before, which a
        # process is to write, and the bytes in which it gets them.
        held = logits * new * (4 if self.folds > 1 else 3)
        return Memory(
            prepares=PROCESS + (2 * FLOAT + DOUBLE) * self.channels * old + as_read * new + RESAMPLING * max(old, new),
            predicts=PROCESS + as_read * new + held + (self._segmentations() * new if uncertainty else 0),
            writes=PROCESS + logits * new + max(resampled, judged),
            waits=as_read * new,
        )

    def _segmentations(self) -> int:
        """Bytes of a voxel of what each fold segments and of what all do (worker/predicting/uncertainty.py): masks of
        regions, or short integers and an argmax of long ones."""
        return self.classes * (self.folds + 1) if self.regions else SHORT * self.folds + LONG

    def _padded(self, seen: Sequence[int]) -> list[tuple[int, int]]:
        return list(zip(seen, (*([1] * (len(seen) - len(self.patch))), *self.patch), strict=True))


@dataclass(frozen=True)
class Workers:
    """How many processes prepare and write, and the bytes of memory that all need together at most."""

    prepare: int
    write: int
    needed: float


def fitting_workers(images: Sequence[Memory], most: tuple[int, int], room: float) -> Workers:
    """As many as fit into `room` bytes while each has one of the largest images; at least one of each."""
    prepare, write = most
    while (needed := _needed(images, prepare, write)) > room and prepare + write > 2:
        prepare, write = (prepare - 1, write) if prepare > write else (prepare, write - 1)
    return Workers(prepare, write, needed)


def _needed(images: Sequence[Memory], prepare: int, write: int) -> float:
    predicts = max((image.predicts for image in images), default=0.0)
    prepares = sorted((image.prepares for image in images), reverse=True)[:prepare]
    writes = sorted((image.writes for image in images), reverse=True)[:write]
    waits = sorted((image.waits for image in images), reverse=True)[:prepare]  # each process is one image ahead
    return predicts + sum(prepares) + sum(writes) + sum(waits)

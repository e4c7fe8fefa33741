"""Which patches a network fits, and which spacings a machine, told before nnU-Net plans.

The plans themselves come from nnU-Net's planner; this only spares a person a run that it would refuse.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import Refused
from ...files import read_json
from ..datasets import DatasetFiles

# nnunetv2 2.8.1, default_experiment_planner.py:60: no feature map has a shorter edge.
SHORTEST_EDGE = 4
# The loss of nnU-Net leaves the lowest resolution out (nnUNetTrainer.py:463), so deep supervision needs two.
FEWEST_POOLINGS = 2
# Voxels of a usual case after resampling; nnU-Net holds several arrays of 4 bytes each per process, so this is 4 GB.
MOST_VOXELS = 1 << 30


@dataclass(frozen=True)
class Poolings:
    """How often each axis is pooled, and in how many steps."""

    per_axis: tuple[int, ...]
    steps: int


def poolings(spacing: Sequence[float], patch: Sequence[int]) -> Poolings:
    """As get_pool_and_conv_props counts them (nnunetv2 2.8.1, network_topology.py:30).

    >>> poolings((1.0, 1.0, 1.0), (40, 56, 40))
    Poolings(per_axis=(3, 3, 3), steps=3)
    """
    sizes, scaled, found, steps = list(patch), list(spacing), [0] * len(patch), 0
    while axes := _to_pool(sizes, scaled):
        for axis in axes:
            found[axis] += 1
            scaled[axis] *= 2
            sizes[axis] = -(-sizes[axis] // 2)
        steps += 1
    return Poolings(tuple(found), steps)


def _to_pool(sizes: list[int], spacing: list[float]) -> list[int]:
    long = [axis for axis, size in enumerate(sizes) if size >= 2 * SHORTEST_EDGE]
    smallest = min((spacing[axis] for axis in long), default=0.0)
    axes = [axis for axis in long if spacing[axis] / smallest < 2]
    return [] if len(axes) == 1 and sizes[axes[0]] < 3 * SHORTEST_EDGE else axes


def patch_of(changes: Mapping[str, str]) -> list[int]:
    """The patch that is asked for; empty where none is."""
    return [int(side) for side in changes.get("patch_size", "").split("x") if side]


def refuse_odd_patch(spacing: Sequence[float], changes: Mapping[str, str]) -> None:
    """A patch that the network's poolings divide, with enough of them.

    Raises:
        Refused: it names the axis and the nearest sizes that fit.
    """
    patch = patch_of(changes)
    if not patch or len(patch) != len(spacing):
        return
    found = poolings(spacing, patch)
    for axis, (size, times) in enumerate(zip(patch, found.per_axis, strict=True)):
        if size % (1 << times):
            near = " or ".join(str(one) for one in _nearest(spacing, patch, axis))
            raise Refused(
                f"patch_size: {size} is not divisible by {1 << times}: {times} poolings along axis {axis}. "
                f"Nearest that fits: {near}."
            )
    if found.steps < FEWEST_POOLINGS:
        raise Refused(
            f"patch_size: {'x'.join(map(str, patch))} is too small: the network would have {found.steps} poolings, and "
            f"nnU-Net's loss needs {FEWEST_POOLINGS}. Use 16 or more along the axes of the smallest spacing."
        )


def _nearest(spacing: Sequence[float], patch: Sequence[int], axis: int) -> list[int]:
    """The next smaller and the next larger size of one axis that fit, the others as they are."""

    def fits(size: int) -> bool:
        changed = [*patch[:axis], size, *patch[axis + 1 :]]
        return size % (1 << poolings(spacing, changed).per_axis[axis]) == 0

    smaller = next(filter(fits, range(patch[axis] - 1, 0, -1)), None)
    larger = next(filter(fits, range(patch[axis] + 1, 2 * patch[axis] + SHORTEST_EDGE)), None)
    return [size for size in (smaller, larger) if size]


def refuse_huge_images(files: DatasetFiles, changes: Mapping[str, str]) -> None:
    """A spacing at which a usual case can still be held.

    Raises:
        Refused: it says how many voxels a usual case would have.
    """
    fingerprint = read_json(files.fingerprint_file)
    if "spacing" not in changes or not isinstance(fingerprint, dict):
        return
    wanted = [float(part) for part in changes["spacing"].split("x")]
    cases = zip(fingerprint.get("spacings", ()), fingerprint.get("shapes_after_crop", ()), strict=False)
    sizes = [math.prod(n * old / new for old, n, new in zip(*case, wanted, strict=True)) for case in cases]
    if sizes and (usual := statistics.median(sizes)) > MOST_VOXELS:
        median = "x".join(f"{statistics.median(axis):.3g}" for axis in zip(*fingerprint["spacings"], strict=True))
        raise Refused(
            f"spacing={changes['spacing']}: a usual case would have {usual:,.0f} voxels, more than can be held. The "
            f"images have {median} mm."
        )

"""Whether images lie as those of a model's training: nnU-Net takes voxels in the order in which they are stored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy

from ...files import read_json
from ...nnunet.models import Model
from ...texts import clean, some
from ..asks.inspection.images import header_of

MOST_HEADERS = 100  # of each side; reading one takes about a millisecond
REORIENTING = "WithReorient"
VOLUMES = ("SimpleITKIO", "NibabelIO")
# Lengths twice or half of what was seen are an outlier of a dataset, too.
FAR = 2.0
LPS_TO_RAS = numpy.diag([-1.0, -1.0, 1.0])


def geometry_notes(model: Model, images: Mapping[str, Path]) -> list[str]:
    """What the images of each case have otherwise than those of the training, in words."""
    reader = str(model.plans.get("image_reader_writer", ""))
    if not reader.startswith(VOLUMES):
        return []
    found = _headers(images)
    orders = [] if REORIENTING in reader else _orders(found, _headers(_trained_on(model)))
    return [*orders, *_spacings(found, _spacings_of(model))]


def _headers(images: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The geometry of some of the images; a damaged file is the prediction's to tell."""
    step = max(1, len(images) // MOST_HEADERS)
    found = {case: header for case, path in list(images.items())[::step] if (header := header_of(path))}
    return {case: header for case, header in found.items() if header["shape"][0] > 1}


def _trained_on(model: Model) -> dict[str, Path]:
    """The first channels of the training images, where they are here."""
    ending = f"_0000{model.description.get('file_ending', '.nii.gz')}"
    found = sorted((model.files.raw / "imagesTr").glob(f"*{ending}"))
    return {path.name.removesuffix(ending): path for path in found}


def _orders(found: Mapping[str, dict[str, Any]], trained: Mapping[str, dict[str, Any]]) -> list[str]:
    usual = Counter(_order(header) for header in trained.values())
    others = {case: order for case, header in found.items() if (order := _order(header)) not in usual}
    if not usual or not others:
        return []
    counts = ", ".join(f"{count} {order}" for order, count in Counter(others.values()).most_common())
    return [
        f"Images stored in another voxel order than those of the training ({', '.join(usual)}): {counts} "
        f"({some(list(others))}). nnU-Net does not turn them, so these predictions are not to be trusted: turn the "
        f"images to {usual.most_common(1)[0][0]} (nibabel.as_closest_canonical turns to RAS) and predict again."
    ]


def _order(header: Mapping[str, Any]) -> str:
    """Where the x, y and z axes of the stored voxels point to, such as RAS."""
    from nibabel.orientations import aff2axcodes

    affine = numpy.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ numpy.reshape(header["direction"], (3, 3))
    return "".join(letter or "?" for letter in aff2axcodes(affine))


def _spacings_of(model: Model) -> list[tuple[float, ...]]:
    """The spacings of the training images along z, y, x; of a model without fingerprint their median."""
    with suppress(TypeError, KeyError, ValueError):  # the file came with the model: it may hold anything
        fingerprint = read_json(model.folder / "dataset_fingerprint.json")
        return _lengths(fingerprint["spacings"])
    with suppress(TypeError, KeyError, ValueError, IndexError):  # nnunetv2 2.8.1, default_experiment_planner.py:497
        median = model.plans["original_median_spacing_after_transp"]
        return _lengths([[median[axis] for axis in model.plans["transpose_backward"]]])
    return []


def _lengths(spacings: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    found = [tuple(map(float, spacing)) for spacing in spacings]
    if not found or any(len(spacing) != 3 for spacing in found):
        raise ValueError("these are no spacings along z, y, x")
    return found


def _spacings(found: Mapping[str, dict[str, Any]], trained: Sequence[tuple[float, ...]]) -> list[str]:
    if not trained:
        return []
    bounds = [(min(axis) / FAR, max(axis) * FAR) for axis in zip(*trained, strict=True)]
    far = {
        case: header["spacing"]
        for case, header in found.items()
        if any(not low <= length <= high for length, (low, high) in zip(header["spacing"], bounds, strict=True))
    }
    if not far:
        return []
    seen = " × ".join(_range(axis) for axis in zip(*trained, strict=True))
    told = ", ".join(f"{clean(case)} {' × '.join(f'{part:.3g}' for part in far[case])}" for case in list(far)[:3])
    return [
        f"Spacings far from those of the training ({seen} mm, z, y, x), in {len(far)} of {len(found)} images: {told}. "
        "nnU-Net resamples by the spacing: correct the header if it is wrong; if it is right, the model was never "
        "shown such images."
    ]


def _range(lengths: Sequence[float]) -> str:
    ends = f"{min(lengths):.3g}", f"{max(lengths):.3g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)

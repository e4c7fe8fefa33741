"""Distances between the surfaces of two masks, by MONAI, which is an optional extra."""

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from ..schemas.records import CaseSurface

PERCENTILE = 95
LIBRARY = "monai.metrics"
INSTALL = "pip install 'nnunet-mcp[surface]'"


def can_measure() -> bool:
    """Whether this Python has MONAI."""
    return find_spec("monai") is not None


def surface_of(truth: Any, prediction: Any, *, spacing: Sequence[float], tolerance_mm: float) -> CaseSurface:
    """hd95_mm: the greater of both directions' 95th percentile. nsd: the share of boundary voxels, of both, that lie
    within the tolerance of the other's boundary. `spacing` runs along z, y, x; a single slice is measured in its plane.

    Where neither mask has a voxel nothing is defined; where only one has, hd95_mm is not, and nsd is 0.
    """
    there = bool(truth.any()), bool(prediction.any())
    if not all(there):
        return CaseSurface(hd95_mm=None, nsd=0.0 if any(there) else None)
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    axes = tuple(spacing)
    if truth.shape[0] == 1:
        truth, prediction, axes = truth[0], prediction[0], axes[-2:]
    both = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = {"include_background": True, "spacing": axes}
        hd95 = compute_hausdorff_distance(*both, percentile=PERCENTILE, **told)
        nsd = compute_surface_dice(*both, [tolerance_mm], **told)
    return CaseSurface(hd95_mm=float(hd95), nsd=float(nsd))

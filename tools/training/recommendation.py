"""Which configuration, and whether a larger preset is worth it, from the dataset's own figures."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ...errors import Refused
from ...files import read_json
from ...nnunet.datasets import DatasetFiles
from ...nnunet.preprocessed import FULLRES, LOWRES, planned, raw_cases
from ...schemas.preflight import ConfigurationAhead, PlansAhead, Recommendation
from ...schemas.training import TrainingRequest
from .planning import FLAT_IMAGES

ANISOTROPIC = 3.0
FEW_CASES = 200
# GPU memory in GB and hours per fold on an A100 (Isensee et al., nnU-Net Revisited, arXiv 2404.09556, table 2), the
# default plans being 7.7 GB and 9 h.
LARGE_PRESETS = {"nnUNetResEncUNetLPlans": (23, 35), "nnUNetResEncUNetXLPlans": (37, 66)}


def recommend(files: DatasetFiles, ahead: PlansAhead | None = None) -> Recommendation | None:
    """A configuration with its reasons; null where the images have not been looked at yet."""
    description = read_json(files.raw / "dataset.json") or {}
    if str(description.get("file_ending")) in FLAT_IMAGES:
        return Recommendation(configuration="2d", reasons=("The images are 2D.",))
    fingerprint = read_json(files.fingerprint_file)
    if not isinstance(fingerprint, dict) or not fingerprint.get("spacings"):
        return _ahead(next(iter(ahead.plans.values()))) if ahead else None
    shape = [round(statistics.median(axis)) for axis in zip(*fingerprint["shapes_after_crop"], strict=True)]
    if 1 in shape:  # nnU-Net plans no 3d_fullres for them (default_experiment_planner.py:435)
        return Recommendation(configuration="2d", reasons=(f"The images are single slices of {_times(shape)} voxels.",))
    return Recommendation(configuration="3d_fullres", reasons=tuple(_reasons(files, fingerprint, shape)))


def _ahead(found: dict[str, ConfigurationAhead]) -> Recommendation:
    full = found.get(FULLRES)
    if full is None:
        flat = f"The images are single slices of {_times(found['2d'].median_shape)} pixels."
        return Recommendation(configuration="2d", reasons=(flat,))
    shape, spacing = _times(full.median_shape), _times([round(s, 2) for s in full.spacing])
    reasons = [f"3D images of median shape {shape}, resampled to {spacing} mm."]
    if (ratio := max(full.spacing) / min(full.spacing)) >= ANISOTROPIC:
        reasons.append(f"The spacing is anisotropic ({ratio:.1f} to 1): train 2d as well and compare.")
    reasons.append(_coverage(full.patch_size, full.median_shape, lowres=LOWRES in found))
    return Recommendation(configuration=FULLRES, reasons=tuple(reasons))


def _reasons(files: DatasetFiles, fingerprint: dict[str, Any], shape: list[int]) -> Iterator[str]:
    spacing = [statistics.median(axis) for axis in zip(*fingerprint["spacings"], strict=True)]
    yield f"3D images of median shape {_times(shape)} and spacing {_times([round(s, 2) for s in spacing])} mm."
    ratio = max(spacing) / min(spacing)
    if ratio >= ANISOTROPIC:
        yield f"The spacing is anisotropic ({ratio:.1f} to 1): train 2d as well and compare."
    with suppress(Refused, KeyError, TypeError, ValueError):  # plans edited by hand: whoever uses them is told
        yield from _of_plans(files, shape)


def _of_plans(files: DatasetFiles, shape: list[int]) -> Iterator[str]:
    plans = files.plans("nnUNetPlans")
    full = planned(plans, "3d_fullres") if plans else None
    if plans is None or full is None:
        return
    lowres = planned(plans, LOWRES) is not None
    yield _coverage(full["patch_size"], full["median_image_size_in_voxels"], lowres=lowres)


def _coverage(patch: Sequence[float], image: Sequence[float], *, lowres: bool) -> str:
    share = statistics.fmean(min(1.0, length / size) for length, size in zip(patch, image, strict=True))
    then = ": 3d_lowres and the cascade may be better" if lowres else ", so nnU-Net plans no 3d_lowres"
    return f"A patch covers {share:.0%} of the median image along each axis{then}."


def _times(values: Sequence[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)


def preset_notes(request: TrainingRequest, files: DatasetFiles | None) -> Iterator[str]:
    """What a larger preset costs, where nothing is known to be gained by it."""
    if files is None or request.plans_identifier not in LARGE_PRESETS:
        return
    cases = len(raw_cases(files)) if files.raw.is_dir() else 0
    memory, hours = LARGE_PRESETS[request.plans_identifier]
    if cases < FEW_CASES:
        yield (
            f"{request.plans_identifier} needs about {memory} GB of GPU memory and {hours / 9:.0f} times the hours of "
            f"the default plans (7.7 GB; arXiv 2404.09556, table 2). With {cases} cases no gain is known: on BTCV "
            "(30 cases) it changed the Dice by 0.3 points or less. Train the default plans first, and compare."
        )

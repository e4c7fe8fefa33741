"""What nnU-Net has measured and planned for a dataset, read from its files."""

from collections.abc import Iterator
from itertools import islice
from statistics import median
from typing import Any

from ..runs.datasets import DatasetFiles
from ..runs.files import read_json
from ..runs.preprocessed import planned, preprocessed_cases
from ..runs.texts import clean
from ..schemas.answers import Fingerprint, PlannedConfiguration
from .figures import rounded

MOST_PLANS = 12


def plans_of(files: DatasetFiles) -> dict[str, PlannedConfiguration]:
    """Each configuration of each plans file, as "nnUNetPlans 2d"."""
    return dict(islice(_configurations(files), MOST_PLANS))


def _configurations(files: DatasetFiles) -> Iterator[tuple[str, PlannedConfiguration]]:
    for path in sorted(files.preprocessed.glob("*.json")):
        plans = read_json(path)
        if not isinstance(plans, dict) or "plans_name" not in plans:
            continue
        for name in plans.get("configurations", {}):
            try:
                yield clean(f"{path.stem} {name}"), _configuration(files, plans, name)
            except (KeyError, TypeError, ValueError, AttributeError):  # edited by hand
                continue


def _configuration(files: DatasetFiles, plans: dict[str, Any], name: str) -> PlannedConfiguration:
    found = planned(plans, name) or {}
    architecture = found.get("architecture") or {}
    return PlannedConfiguration(
        patch_size=tuple(found["patch_size"]),
        batch_size=found["batch_size"],
        spacing=tuple(rounded(part) for part in found["spacing"]),
        median_shape=tuple(rounded(part) for part in found["median_image_size_in_voxels"]),
        stages=architecture.get("arch_kwargs", {}).get("n_stages"),
        network=str(architecture.get("network_class_name", "")).rpartition(".")[2][:60],
        preprocessed_cases=len(preprocessed_cases(files.preprocessed / str(found["data_identifier"]))),
    )


def fingerprint_of(files: DatasetFiles) -> Fingerprint | None:
    """nnU-Net's dataset_fingerprint.json in few numbers, or None."""
    found = read_json(files.fingerprint_file)
    try:
        shapes, spacings = found["shapes_after_crop"], found["spacings"]
        channels = found["foreground_intensity_properties_per_channel"]
        return Fingerprint(
            cases=len(shapes),
            median_shape=tuple(rounded(median(axis)) for axis in zip(*shapes, strict=True)),
            median_spacing=tuple(rounded(median(axis)) for axis in zip(*spacings, strict=True)),
            foreground=tuple(f"{rounded(c['mean']):g} ± {rounded(c['std']):g}" for c in channels.values()),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None

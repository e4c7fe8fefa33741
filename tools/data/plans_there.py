"""What nnU-Net has measured and planned for a dataset, read from its files."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from ...errors import RunError
from ...files import read_json
from ...nnunet.datasets import DatasetFiles
from ...nnunet.preprocessed import MEND_PLANS, OddPlans, planned, preprocessed_cases
from ...schemas.datasets import Fingerprint, PlannedConfiguration
from ...texts import clean
from .summary.figures import rounded

MOST_PLANS = 12


@dataclass
class PlansThere:
    """Each configuration of each plans file, as "nnUNetPlans 2d", with what it inherits; and what is wrong with the
    files."""

    configurations: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_plans(files: DatasetFiles) -> PlansThere:
    """Read all plans of a dataset. Files that people have edited may have any fault."""
    there = PlansThere()
    for path in sorted(files.preprocessed.glob("*.json")):
        plans = read_json(path)
        if plans is None and path.exists():
            there.problems.append(f"{clean(path.name)} is not as nnU-Net writes it. {MEND_PLANS}")
        elif isinstance(plans, dict) and "plans_name" in plans:
            _add(there, path, plans)
    return there


def _add(there: PlansThere, path: Path, plans: dict[str, Any]) -> None:
    listed = plans.get("configurations", {})
    if not isinstance(listed, dict):
        there.problems.append(f"{clean(path.name)} is not as nnU-Net writes it. {MEND_PLANS}")
        return
    for name in listed:
        try:
            there.configurations[clean(f"{path.stem} {name}")] = planned(plans, name) or {}
        except RunError as error:
            what = error.what if isinstance(error, OddPlans) else str(error).rstrip(".")
            there.problems.append(f"{clean(path.name)}, configuration {clean(name)}: {what}. {MEND_PLANS}")


def preprocessed_of(files: DatasetFiles, there: PlansThere) -> list[str]:
    """The configurations that have preprocessed cases."""
    folders = {name: found.get("data_identifier") for name, found in there.configurations.items()}
    return [name for name, folder in folders.items() if folder and preprocessed_cases(files.preprocessed / folder)]


def plans_of(files: DatasetFiles, there: PlansThere) -> dict[str, PlannedConfiguration]:
    """The first configurations that are complete, in few numbers."""
    return dict(islice(_described(files, there), MOST_PLANS))


def _described(files: DatasetFiles, there: PlansThere) -> Iterator[tuple[str, PlannedConfiguration]]:
    for name, found in there.configurations.items():
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # the plans were edited by hand
            yield name, _describe(files, found)


def _describe(files: DatasetFiles, found: dict[str, Any]) -> PlannedConfiguration:
    architecture = found.get("architecture") or {}
    return PlannedConfiguration(
        patch_size=tuple(found["patch_size"]),
        batch_size=found["batch_size"],
        spacing=tuple(rounded(part) for part in found["spacing"]),
        median_shape=tuple(rounded(part) for part in found["median_image_size_in_voxels"]),
        stages=architecture.get("arch_kwargs", {}).get("n_stages"),
        network=str(architecture.get("network_class_name", "")).rpartition(".")[2][:60],
        preprocessed_cases=len(preprocessed_cases(files.preprocessed / found["data_identifier"])),
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

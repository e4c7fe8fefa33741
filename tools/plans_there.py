"""What nnU-Net has measured and planned for a dataset, read from its files."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from ..runs.datasets import DatasetFiles
from ..runs.errors import Refused, RunError
from ..runs.files import read_json
from ..runs.preprocessed import planned, preprocessed_cases
from ..runs.texts import clean
from ..schemas.answers import Fingerprint, PlannedConfiguration
from .figures import rounded

MOST_PLANS = 12
MEND = "Correct it, or remove it and plan again."


@dataclass
class PlansThere:
    """Each configuration of each plans file, as "nnUNetPlans 2d", with what it inherits; and what is odd."""

    configurations: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_plans(files: DatasetFiles) -> PlansThere:
    """Everything that is planned; files that people have edited may be odd in any way."""
    there = PlansThere()
    for path in sorted(files.preprocessed.glob("*.json")):
        try:
            plans = read_json(path)
            if isinstance(plans, dict) and "plans_name" in plans:
                _add(there, path, plans)
        except (OSError, RecursionError, AttributeError, TypeError):
            there.problems.append(f"{clean(path.name)} is not as nnU-Net writes it. {MEND}")
    return there


def _add(there: PlansThere, path: Path, plans: dict[str, Any]) -> None:
    for name in dict(plans.get("configurations", {}).items()):
        try:
            there.configurations[clean(f"{path.stem} {name}")] = _checked(planned(plans, name) or {})
        except (RunError, TypeError, ValueError) as error:
            reason = str(error) if isinstance(error, RunError) else "it is not as nnU-Net writes it"
            there.problems.append(f"{clean(path.name)}, configuration {clean(name)}: {reason.rstrip('.')}. {MEND}")


def _checked(configuration: dict[str, Any]) -> dict[str, Any]:
    identifier = configuration.get("data_identifier", "")
    if not isinstance(identifier, str) or not identifier.isprintable():
        raise Refused(f"data_identifier is {clean(repr(identifier))}; it must be the name of a folder")
    return configuration


def preprocessed_of(files: DatasetFiles, there: PlansThere) -> list[str]:
    """What has preprocessed cases."""
    folders = {name: found.get("data_identifier") for name, found in there.configurations.items()}
    return [name for name, folder in folders.items() if folder and preprocessed_cases(files.preprocessed / folder)]


def plans_of(files: DatasetFiles, there: PlansThere) -> dict[str, PlannedConfiguration]:
    """The first configurations that are complete, in few numbers."""
    return dict(islice(_described(files, there), MOST_PLANS))


def _described(files: DatasetFiles, there: PlansThere) -> Iterator[tuple[str, PlannedConfiguration]]:
    for name, found in there.configurations.items():
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # edited by hand
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

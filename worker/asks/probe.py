"""What nnU-Net's Python has, whether a training could load it, and whether nnU-Net is as we expect."""

import importlib.metadata
import platform
import sys
from typing import Any

from ...ask import NoJob, answer
from ...schemas.system import Probe
from ..nnunet_seam import differences

PACKAGES = ("nnunetv2", "torch", "torchvision")


def probe() -> Probe:
    """Load what a training loads; report the error of anything that cannot be loaded."""
    found: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            errors[package] = "not installed"
    for name, load in (("torch", _torch), ("torchvision", _torchvision), ("trainers", _trainers)):
        try:
            found.update(load())
        except Exception as error:
            errors.setdefault(name, f"{type(error).__name__}: {error}")
    changed = () if errors else tuple(differences())
    return Probe(python=platform.python_version(), errors=errors, differences=changed, **found)


def _torch() -> dict[str, Any]:
    import torch

    return {"cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}


def _torchvision() -> dict[str, Any]:
    import torchvision  # noqa: F401 - loading it is the check

    return {}


def _trainers() -> dict[str, Any]:
    """Load the other trainers: nnU-Net finds any but the default one by importing all (nnunetv2 2.8.1,
    utilities/find_objects.py:16)."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    return {"trainers": recursive_find_trainer_class_by_name("nnUNetTrainer_5epochs") is not None}


if __name__ == "__main__":
    sys.exit(answer(NoJob, lambda job, say: probe()))

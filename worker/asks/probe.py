"""`python -P -m nnunet_mcp.worker.asks.probe`: what nnU-Net's Python has, as one JSON object on the last line."""

import importlib.metadata
import json
import platform
from typing import Any

PACKAGES = ("nnunetv2", "torch", "torchvision")


def probe() -> dict[str, Any]:
    """Load what a training loads; what cannot be loaded is named with its error."""
    found: dict[str, Any] = {"python": platform.python_version(), "errors": {}}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found["errors"][package] = "not installed"
    for name, load in (("torch", _torch), ("torchvision", _torchvision), ("trainers", _trainers)):
        try:
            found.update(load())
        except Exception as error:
            found["errors"].setdefault(name, f"{type(error).__name__}: {error}")
    return found


def _torch() -> dict[str, Any]:
    import torch

    return {"cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}


def _torchvision() -> dict[str, Any]:
    import torchvision  # noqa: F401 - loading it is the check

    return {}


def _trainers() -> dict[str, Any]:
    """Any trainer but the default one is found by importing others (nnunetv2 2.8.1, utilities/find_objects.py:16)."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    return {"trainers": recursive_find_trainer_class_by_name("nnUNetTrainer_5epochs") is not None}


if __name__ == "__main__":
    print(json.dumps(probe()))

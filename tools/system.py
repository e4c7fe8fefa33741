"""nnunet_system: what this machine has, who uses it, and what is wrong with it."""

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from ..runs.errors import RunError
from ..runs.layout import StateDir
from ..runs.settings import Settings
from ..runs.slots import SlotKind, gpu_names, slot_holder, slot_names
from ..schemas.answers import Slot, SystemAnswer
from ..schemas.requests import SystemRequest
from .trainers import nnunet_folder
from .training import versions

GB = 1e9
LOW_DISK_GB = 2.0
SMALL_SHM_GB = 0.5
SLOT_KINDS: tuple[SlotKind, ...] = ("gpu", "cpu", "preprocess")


def nnunet_system(request: SystemRequest, settings: Settings) -> SystemAnswer:
    """Describe the machine; nothing is changed."""
    memory = psutil.virtual_memory()
    problems = tuple(find_problems(settings))
    return SystemAnswer(
        gpus=tuple(gpu_names()),
        cpu_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=round(memory.total / GB, 1),
        memory_free_gb=round(memory.available / GB, 1),
        slots=tuple(_slots(settings)),
        folders={name: str(settings.folder(name)) for name in ("raw", "preprocessed", "results")},
        state_folder=str(settings.state_dir),
        disk_free_gb={name: _free_gb(settings.folder(name)) for name in ("raw", "preprocessed", "results")},
        versions=versions(),
        problems=problems,
        next_step="Solve the problems first." if problems else "Ready: nnunet_datasets shows what can be trained.",
    )


def _slots(settings: Settings) -> Iterator[Slot]:
    state = StateDir(settings.state_dir)
    for kind in SLOT_KINDS:
        for name in slot_names(kind, settings.gpus):
            yield Slot(kind=kind, name=name, holder=slot_holder(state, kind, name))


def _free_gb(folder: Path) -> float:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return round(shutil.disk_usage(existing).free / GB, 2)


def find_problems(settings: Settings) -> Iterator[str]:
    """Everything that would make runs fail, each with what to do."""
    for name in ("raw", "preprocessed", "results"):
        folder = settings.folder(name)
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(existing, os.W_OK):
            yield f"nnUNet_{name} ({folder}) cannot be written. Make it writable, or set nnUNet_{name}."
        elif _free_gb(folder) < LOW_DISK_GB:
            yield f"Only {_free_gb(folder)} GB are free in nnUNet_{name} ({folder}). Free some space."
    yield from _missing_packages(settings)
    shm = Path("/dev/shm")
    if shm.is_dir() and shutil.disk_usage(shm).total < SMALL_SHM_GB * GB:
        yield "/dev/shm is smaller than 0.5 GB. Start the container with a larger --shm-size."


def _missing_packages(settings: Settings) -> Iterator[str]:
    if settings.worker_python is not None:
        if shutil.which(settings.worker_python) is None:
            yield f"NNUNET_MCP_WORKER_PYTHON ({settings.worker_python}) is no program. Name the Python with nnU-Net."
        return
    try:
        nnunet_folder()
        importlib.metadata.version("torch")
    except (RunError, importlib.metadata.PackageNotFoundError) as error:
        yield f"nnU-Net or PyTorch is missing here ({error}). Install nnunet-mcp with its dependencies."

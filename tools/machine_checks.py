"""Check what a training needs of this machine, with a fix for each problem; for nnunet_system and the doctor."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from ..errors import RunError
from ..locks import Lock
from ..nnunet.installed import installed
from ..runs.engines import engine_named
from ..schemas.system import Check
from ..settings import Settings
from .helping import told

GB = 1e9
FOLDERS = ("raw", "preprocessed", "results")
LOW_DISK_GB = 2.0
TIGHT_DISK_GB = 20.0
QUOTES = ("'", '"')
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Quick checks for everything that would make runs fail; nothing is changed."""
    yield from (folder_check(settings, which) for which in FOLDERS)
    yield package_check(settings)
    yield from engine_named(settings.engine).checks(settings)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def free_gb(folder: Path) -> float:
    """Free disk space in the folder, or where it would be created."""
    return round(shutil.disk_usage(existing(folder)).free / GB, 2)


def folder_check(settings: Settings, which: str) -> Check:
    """Check one of the three nnU-Net folders: set, existing, writable, with free space."""
    folder, name = settings.folder(which), f"nnUNet_{which}"
    given = getattr(settings, which)
    if given is not None and "$" in str(given):
        fix = f"Write the whole path into {name}: nobody expands $ there."
        return Check(name=name, level="problem", detail=f"{name} ({given}) holds an unexpanded variable.", fix=fix)
    if given is not None and (slip := _slip(str(given), there=folder.is_dir())):
        fix = f"Write the whole path into {name}, as it is and nothing around it."
        return Check(name=name, level="problem", detail=f"{name} ({given}) {slip}.", fix=fix)
    if not existing(folder).is_dir() or not os.access(existing(folder), os.W_OK):
        detail, fix = f"{name} ({folder}) cannot be written.", f"Make it writable, or set {name}."
        return Check(name=name, level="problem", detail=detail, fix=fix)
    if free_gb(folder) < TIGHT_DISK_GB:
        level = "problem" if free_gb(folder) < LOW_DISK_GB else "warning"
        detail = f"Only {free_gb(folder)} GB are free in {name} ({folder})."
        return Check.model_validate({"name": name, "level": level, "detail": detail, "fix": "Free some space."})
    if not folder.is_dir():
        fix = f"Correct {name} if that is a slip; otherwise it is made with the first run."
        return Check(name=name, level="warning", detail=f"{folder} does not exist yet.", fix=fix)
    default = "" if given is not None else f", the default; {name} is not set"
    return Check(name=name, level="ok", detail=f"{folder} ({free_gb(folder):.0f} GB free{default})")


def _slip(given: str, *, there: bool) -> str:
    """What is odd about the value of a variable that names a folder, in words; empty if nothing is."""
    if given != given.strip() or given[:1] in QUOTES or given[-1:] in QUOTES:
        return "has quotes or blanks around it, which belong to the path here"
    if os.name == "posix" and WINDOWS.match(given):
        return "is a path of Windows, and this machine has none"
    if not there and not given.startswith((os.sep, "~")) and not Path(given).is_absolute():
        return f"is relative, so it is looked for in {Path.cwd()}, the folder in which the server was started"
    return ""


def package_check(settings: Settings) -> Check:
    """Check that nnU-Net and PyTorch are installed in nnU-Net's Python; they are not imported."""
    name, python = "nnU-Net", settings.nnunet_python
    if settings.worker_python is not None and shutil.which(python) is None:
        detail = f"NNUNET_MCP_WORKER_PYTHON ({python}) is no program."
        return Check(name=name, level="problem", detail=detail, fix="Name the Python with nnU-Net.")
    try:
        found = installed(python)
    except RunError as error:
        return Check(name=name, level="problem", detail=told(error), fix="Then ask again.")
    lacking = [package for package in ("nnunetv2", "torch") if package not in found.versions]
    if lacking:
        fix = (
            f"{python} -m pip install {' '.join(lacking)}, or set NNUNET_MCP_WORKER_PYTHON to a Python that has both "
            "and nnunet-mcp."
        )
        return Check(name=name, level="problem", detail=f"{' and '.join(lacking)} not installed in {python}.", fix=fix)
    if (theirs := found.versions["nnunet-mcp"]) != __version__:
        detail = f"{python} has nnunet-mcp {theirs}, this server is {__version__}."
        return Check(name=name, level="problem", detail=detail, fix="Install the same version in both.")
    return Check(name=name, level="ok", detail=f"nnU-Net and PyTorch are installed in {python}")


def state_check(settings: Settings) -> Check:
    """Check that the state folder can be written, and that its file system refuses a lock to a second process."""
    name, folder = "state folder", settings.state_dir
    try:
        with tempfile.TemporaryDirectory(prefix=".nnunet-mcp-doctor-", dir=existing(folder)) as scratch:
            first, second = (Lock(Path(scratch) / "lock") for _ in range(2))
            works = first.try_acquire() and not second.try_acquire()
            first.release()
            second.release()
    except OSError as error:
        fix = "Make it writable, or set NNUNET_MCP_HOME to a folder on a local disk."
        return Check(name=name, level="problem", detail=f"{folder} cannot hold locks ({error}).", fix=fix)
    if not works:
        fix = "Set NNUNET_MCP_HOME to a folder on a local disk."
        return Check(name=name, level="problem", detail=f"Locks (flock) do not work in {folder}.", fix=fix)
    return Check(name=name, level="ok", detail=f"{folder}, locks work")

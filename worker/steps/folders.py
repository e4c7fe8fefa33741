"""Folders that are completed elsewhere and then put in place."""

import shutil
from pathlib import Path


def replace_folder(new: Path, target: Path) -> None:
    """Put a folder in place of another one, which is removed only when the new one is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".old-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def install_beside(new: Path, target: Path, put_aside: Path) -> bool:
    """Put a file or folder in place, and move what is there to `put_aside`; returns whether there was anything."""
    target.parent.mkdir(parents=True, exist_ok=True)
    there = target.exists()
    if there:
        put_aside.parent.mkdir(parents=True, exist_ok=True)
        target.rename(put_aside)
    try:
        new.rename(target)
    except OSError:
        if there:
            put_aside.rename(target)
        raise
    return there

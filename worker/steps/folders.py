"""Folders that are made aside and then take another's place."""

import shutil
from pathlib import Path


def replace_folder(new: Path, target: Path) -> None:
    """Put a folder in another's place; the other one goes only when the new one is there."""
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
    """Put a file or folder in place; what is there already is moved to `put_aside`. Returns whether there was any."""
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

"""Files of the state folder that grow: nobody else can write them, whatever the umask of whoever starts us."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

RIGHTS = 0o644  # who may enter the folder may read what is in it
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
FOLDER_RIGHTS = 0o775


def to_append(path: Path) -> IO[bytes]:
    """Open a file to append to it; one that others could write is mended."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, RIGHTS)
    found = os.fstat(descriptor)
    if found.st_mode & OTHERS_WRITE and found.st_uid == os.geteuid():
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~OTHERS_WRITE)
    return os.fdopen(descriptor, "ab")


def make_folders(path: Path) -> None:
    """Make a folder and those above it, in which not everybody may put and replace files."""
    for folder in reversed([path, *path.parents]):
        folder.mkdir(mode=FOLDER_RIGHTS, exist_ok=True)

"""What an answer has read of a run's files, and whether those are still as they were then."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")
Stamp = tuple[int, int, int, int]
# Longer than a step of a file system's clock (4-10 ms on Linux, 2 s on exFAT): within one, two states look the same.
SETTLED_S = 3.0


def stamp(path: str) -> Stamp | None:
    """What changes when a file is written or replaced, or a folder gets or loses an entry; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a list of runs makes hundreds, and a Path takes longer than its stat
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def has_settled(*stamps: Stamp | None) -> bool:
    """Whether the last change is so long ago that a further one would be seen."""
    return all(one is None or time.time() - max(one[2:]) / 1e9 > SETTLED_S for one in stamps)


class Memory:
    """What has been read, by file and by what was read of it; and the stamps of these files, taken before.

    Several threads may share one: a server answers in many.
    """

    def __init__(self) -> None:
        self.found: dict[tuple[Path, str], Any] = {}
        self.essence: Any = None
        self._stamps: dict[str, Stamp | None] = {}

    def watch(self, file: Path) -> None:
        """Take the file's stamp, before it is read for the first time."""
        if (path := str(file)) not in self._stamps:
            self._stamps[path] = stamp(path)

    def once(self, file: Path, what: str, read: Callable[[], Found]) -> Found:
        """What was read before, else it is read now."""
        known, key = self.found, (file, what)
        if key not in known:
            self.watch(file)
            known[key] = read()
        found: Found = known[key]
        return found

    def holds(self) -> bool:
        """Whether every file that was read, or was not there, is still so."""
        return all(stamp(path) == before for path, before in list(self._stamps.items()))

    def distil(self, essence: Found) -> Found:
        """Keep what was made of all this, in its place: the files are still watched."""
        self.found, self.essence = {}, essence
        return essence

    def has_settled(self) -> bool:
        """Whether `holds` would notice every further change."""
        return has_settled(*self._stamps.values())


def once(memory: Memory | None, file: Path, what: str, read: Callable[[], Found]) -> Found:
    """The same, where there is a memory; else it is read now."""
    return read() if memory is None else memory.once(file, what, read)

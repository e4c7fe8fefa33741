"""Locks that a dead holder gives back by itself: flock on files in the state folder."""

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class Lock:
    """One flock on one file; the file's text says who holds it, for people to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: IO[str] | None = None

    def try_acquire(self, holder: dict[str, Any] | None = None, *, shared: bool = False) -> bool:
        """Take the lock if it is free."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return False
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        if holder is not None:
            _replace_text(stream, json.dumps(holder))
        return True

    def release(self) -> None:
        """Give the lock back; a process that inherited the file goes on holding it."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def fileno(self) -> int:
        """The file descriptor to hand on to a child.

        Raises:
            ValueError: the lock is not held.
        """
        if self._stream is None:
            raise ValueError(f"{self.path} is not held")
        return self._stream.fileno()

    def holder(self) -> dict[str, Any]:
        """What the last holder wrote about itself, or nothing."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}


def _replace_text(stream: IO[str], text: str) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()


def lock_name(*parts: str) -> str:
    """A file name for a lock on a thing that has a longer name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "__".join(parts)) + ".lock"


@contextmanager
def held(path: Path, *, timeout_s: float = 30.0) -> Iterator[None]:
    """Hold a lock for a few statements.

    Raises:
        TimeoutError: somebody else held it for `timeout_s`.
    """
    lock = Lock(path)
    deadline = time.monotonic() + timeout_s
    while not lock.try_acquire():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is held by another process")
        time.sleep(0.01)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def waiting_for(
    path: Path, say: Callable[[dict[str, Any]], None], *, holder: dict[str, Any], shared: bool = False
) -> Iterator[None]:
    """Hold a lock for hours; while it is somebody else's, `say` is told who holds it once a second."""
    lock = Lock(path)
    while not lock.try_acquire(None if shared else {**holder, "pid": os.getpid()}, shared=shared):
        say(lock.holder())
        time.sleep(1.0)
    try:
        yield
    finally:
        lock.release()

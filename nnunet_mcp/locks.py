"""Locks that the kernel frees when their holder dies: flock on files in the state folder."""

import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .files import make_folder, read_plain
from .liveness import liveness, mark_of
from .schemas.records import ProcessMark

# Names the process in the line of a shared lock's holder: the line stays in the file when the process ends.
SHARED_BY = "shared_by"
LINES_BYTES = 1 << 20
# File systems take 255 bytes; the ending, and the marks of a file that is just being written, come on top.
LONGEST_NAME = 200


class Lock:
    """One flock on one file; for people, the text of the file says who holds it.

    An exclusive holder writes one line in place of all earlier ones; each holder of a shared lock adds a line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: IO[bytes] | None = None

    def try_acquire(self, holder: dict[str, Any] | None = None, *, shared: bool = False) -> bool:
        """Take the lock if it is free."""
        stream = self._open()
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return False
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        others = [line for line in self._lines() if SHARED_BY in line] if shared else []
        mark = {SHARED_BY: mark_of(os.getpid()).model_dump()} if shared else {}
        self._write([*others, *([{**holder, **mark}] if holder is not None else [])])
        return True

    def _open(self) -> IO[bytes]:
        make_folder(self.path.parent)
        return _open(self.path)

    def _open_to_read(self) -> IO[bytes]:
        return _open_at_once(self.path, os.O_RDONLY)

    def is_free(self) -> bool:
        """Whether nobody holds the lock exclusively. Checking creates no file and needs no write permission."""
        try:
            with self._open_to_read() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except BlockingIOError:
            return False
        except PermissionError:
            return not _is_listed(self.path)
        return True

    def release(self) -> None:
        """Release the lock; a child that inherited the file keeps holding it."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def fileno(self) -> int:
        """The file descriptor, to pass to a child.

        Raises:
            ValueError: the lock is not held.
        """
        if self._stream is None:
            raise ValueError(f"{self.path} is not held")
        return self._stream.fileno()

    def holder(self) -> dict[str, Any]:
        """What the last holder wrote about itself; empty if unknown."""
        last = (self._lines() or [{}])[-1]
        return {key: value for key, value in last.items() if key != SHARED_BY}

    def _lines(self) -> list[dict[str, Any]]:
        """The lines of the holders, without those of shared holders whose process has ended."""
        try:
            found = [json.loads(line) for line in read_plain(self.path, most=LINES_BYTES).splitlines()]
            return [line for line in found if isinstance(line, dict) and not _has_ended(line.get(SHARED_BY))]
        except (OSError, ValueError, RecursionError):
            return []

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """Write the lines. They are for people: neither a full disk nor another user's file prevents the lock."""
        with suppress(OSError):
            os.ftruncate(self.fileno(), 0)
            os.pwrite(self.fileno(), "".join(f"{json.dumps(line)}\n" for line in lines).encode(), 0)


class HostLock(Lock):
    """A lock for all users of this host, in a folder that everybody may write to, such as /tmp.

    The file is never written to. If somebody has put a link, a pipe or an unreadable file in its place, OSError is
    raised.
    """

    def _open(self) -> IO[bytes]:
        with suppress(FileExistsError):
            if not self.path.exists():  # in a sticky folder O_CREAT fails on another user's file (fs.protected_regular)
                made = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444)
                os.fchmod(made, 0o444)  # despite the umask
                os.close(made)
        return self._open_to_read()

    def _open_to_read(self) -> IO[bytes]:
        stream = _open_at_once(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            stream.close()
            raise OSError(f"{self.path} is no file")
        return stream

    def _write(self, lines: list[dict[str, Any]]) -> None:
        """Write nothing: the file often belongs to another user."""


def _has_ended(mark: dict[str, Any] | None) -> bool:
    return mark is not None and liveness(ProcessMark.model_validate(mark)) == "dead"


def _is_listed(path: Path) -> bool:
    """Whether the kernel lists a lock on the file: all that can be known without permission to read the file.

    Where the kernel has no such list, the lock counts as held; we could not take it anyway.
    """
    try:
        inode, listed = path.stat().st_ino, Path("/proc/locks").read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(rf":{inode}\b", listed) is not None


def _open(path: Path) -> IO[bytes]:
    """Open or create a lock file that exactly those who may write to its folder can lock, whoever creates it.

    Without this, permission to read the file would be enough for flock.
    """
    try:
        stream = _open_at_once(path, os.O_RDWR | os.O_CREAT)
    except PermissionError:
        if not os.access(path.parent, os.W_OK):
            raise
        return _open_at_once(path, os.O_RDONLY)
    found, folder = os.fstat(stream.fileno()), path.parent.stat()
    wanted = 0o600 | sum(bits for bits, writes in ((0o060, 0o020), (0o006, 0o002)) if folder.st_mode & writes)
    if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) != wanted and found.st_uid == os.geteuid():
        with suppress(OSError):
            os.fchmod(stream.fileno(), wanted)
    return stream


def _open_at_once(path: Path, flags: int) -> IO[bytes]:
    """Open without blocking. A pipe can be locked like a file, but opening it would wait for its other end."""
    return os.fdopen(os.open(path, flags | os.O_NONBLOCK, 0o600), "rb", buffering=0)


def lock_name(*parts: str) -> str:
    """A valid file name for a lock on something with a longer name; of a very long one the end is a digest."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", "__".join(parts))
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256("__".join(parts).encode()).hexdigest()[:16]
        name = f"{name[: LONGEST_NAME - len(digest) - 1]}_{digest}"
    return f"{name}.lock"


@contextmanager
def held(path: Path, *, timeout_s: float = 30.0) -> Iterator[None]:
    """Hold a lock for a short time.

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
    """Hold a lock for a long time. While somebody else holds it, tell `say` once a second who."""
    lock = Lock(path)
    while not lock.try_acquire({**holder, "pid": os.getpid()}, shared=shared):
        say(lock.holder())
        time.sleep(1.0)
    try:
        yield
    finally:
        lock.release()

"""Reading files that anybody may have written, and writing ours so that nobody ever sees half of one.

Every file is opened through `open_plain`: a FIFO, a device or a link that leads elsewhere is an error, never a wait.
"""

import errno
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Found = TypeVar("Found")
Stamp = tuple[int, int, int, int]
USUAL_LINE_BYTES = 512
# A dataset.json that lists 100,000 cases has about 15 MB; nnU-Net's summary of as many about 200.
JSON_BYTES = 256 << 20
DESCRIPTION_BYTES = 16 << 20
RIGHTS = 0o644  # whoever may enter the state folder may read the files in it
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
FOLDER_RIGHTS = 0o775
# Longer than a step of a file system's clock (4-10 ms on Linux, 2 s on exFAT): within one, two states look the same.
SETTLED_S = 3.0


class NotPlain(OSError):
    """The path is no regular file, is larger than such a file may be, or leads out of the allowed folders."""


# Errors that mean "there is no file to read". Other errors, such as those of a failing disk, say nothing about that.
NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, NotPlain)


def open_plain(path: Path, *, inside: Sequence[Path] = ()) -> IO[bytes]:
    """Open a regular file for reading, without ever waiting for it.

    `inside`: the file must lie in one of these folders once all links are followed. The opened file is compared with
    the one at that path afterwards, so a link that is swapped in between is noticed.

    Raises:
        NotPlain: it is no regular file, or lies elsewhere.
        OSError: it cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # merely opening a device can have effects
        raise _not_plain(path, "is no regular file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_plain(path, "is no regular file")
        if inside and not _lies_in(found, path, inside):
            raise _not_plain(path, "leads out of the folders that may be read")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _lies_in(found: os.stat_result, path: Path, folders: Sequence[Path]) -> bool:
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
        return False
    try:
        return os.path.samestat(found, os.lstat(real))
    except OSError:
        return False


def _not_plain(path: Path, why: str) -> NotPlain:
    return NotPlain(errno.EINVAL, why, str(path))


def read_plain(path: Path, *, most: int = JSON_BYTES, inside: Sequence[Path] = ()) -> bytes:
    """A regular file's content, of at most so many bytes.

    Raises:
        NotPlain: it is no regular file, lies elsewhere or has more.
        OSError: it cannot be read.
    """
    with open_plain(path, inside=inside) as stream:
        # the size is checked before reading: a sparse file may be huge
        whole = os.fstat(stream.fileno()).st_size <= most
        content = stream.read(most + 1) if whole else b""
    if not whole or len(content) > most:
        raise _not_plain(path, f"has more than {most >> 20} MB")
    return content


def make_folder(path: Path) -> None:
    """Make a folder and its parents with the permissions of the folder above them, whatever the umask.

    So a folder inside a group-writable folder is group-writable, too. From a sticky folder, such as /tmp, nothing is
    inherited.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    rights = path.parent.stat().st_mode
    if not rights & stat.S_ISVTX:
        with suppress(PermissionError):  # another user has just made it
            path.chmod(stat.S_IMODE(rights) | stat.S_IRWXU)


def write_model(path: Path, model: BaseModel, *, durable: bool = True) -> None:
    """Replace a JSON file in one step; with `durable`, return only when it is on disk."""
    write_text(path, model.model_dump_json(), durable=durable)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode("utf-8"), durable=durable)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one.

    Raises:
        OSError: the disk is full or read-only; the old file is intact and no other is left behind.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), 0o644)  # mkstemp hides the file from the group's other members
            stream.write(content)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_new(path: Path, content: str | bytes) -> None:
    """Write a file that is not there yet, whole or not at all.

    Raises:
        FileExistsError: something of that name is there.
        OSError: the disk is full or read-only; nothing is left behind.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        write_bytes(beside, content if isinstance(content, bytes) else content.encode("utf-8"))
        publish_new(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def publish_new(written: Path, path: Path) -> None:
    """Give a file its name in one step, without ever replacing a file: a link fails where a rename would replace.

    Raises:
        FileExistsError: something of that name is there.
    """
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no links: the name is taken first, and then replaced by what is its own
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, RIGHTS))
        try:
            written.replace(path)
        except OSError:
            path.unlink()
            raise


def _content(path: Path, most: int = JSON_BYTES, inside: Sequence[Path] = ()) -> bytes:
    """Read a file; on NFS it can have been replaced between its opening and its reading."""
    try:
        return read_plain(path, most=most, inside=inside)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return read_plain(path, most=most, inside=inside)


def read_model(path: Path, model: type[Model]) -> Model | None:
    """The file's content, or None where it is missing or not (yet) valid."""
    try:
        return model.model_validate_json(_content(path))
    except (FileNotFoundError, NotADirectoryError, NotPlain, ValidationError):
        return None


def read_json(path: Path, *, most: int = JSON_BYTES, inside: Sequence[Path] = ()) -> Any:
    """Parsed JSON, or None where there is no file to read or it is not JSON. Reads nnU-Net's bare NaN as None."""
    try:
        return json.loads(_content(path, most, inside).decode(), parse_constant=lambda _: None)
    except (*NO_FILE, ValueError, RecursionError):  # ValueError also for a number of thousands of digits
        return None


def append_line(path: Path, model: BaseModel) -> None:
    """Append one JSON line in a single write, so that lines never interleave.

    If a kill left the last line unfinished, it is closed with a newline first, so that the new line stays readable.
    """
    with to_append(path) as stream:
        torn = stream.tell() > 0 and not _ends_with_newline(path)
        stream.write((b"\n" if torn else b"") + model.model_dump_json().encode() + b"\n")


def to_append(path: Path) -> IO[bytes]:
    """Open a file for appending that only its owner can write, whatever the umask; wrong permissions are corrected."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, RIGHTS)
    found = os.fstat(descriptor)
    if found.st_mode & OTHERS_WRITE and found.st_uid == os.geteuid():
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~OTHERS_WRITE)
    return os.fdopen(descriptor, "ab")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def read_lines(path: Path, model: type[Model]) -> Iterator[Model]:
    """Every complete line of a JSONL file; incomplete or broken lines are skipped."""
    try:
        stream = open_plain(path)
    except (FileNotFoundError, NotADirectoryError, NotPlain):
        return
    with stream:
        yield from _valid(stream, model)


def read_last_lines(path: Path, model: type[Model], count: int) -> list[Model]:
    """The last complete lines of a JSONL file, oldest first. It reads from the end, so long files take no longer."""
    try:
        with open_plain(path) as stream:
            return _last(stream, model, count)
    except (FileNotFoundError, NotADirectoryError, NotPlain):
        return []


def _last(stream: IO[bytes], model: type[Model], count: int) -> list[Model]:
    """Read a window at the end of the file, and double it until it has enough complete lines."""
    size, window = stream.seek(0, os.SEEK_END), count * USUAL_LINE_BYTES
    while True:
        start = max(0, size - window)
        stream.seek(start)
        lines = stream.read(size - start).splitlines()
        whole = lines[1:] if start > 0 else lines  # the first line may be incomplete
        found = list(islice(_valid(reversed(whole), model), count))
        if len(found) >= count or start == 0:
            return found[::-1]
        window *= 2


def _valid(lines: Iterable[bytes], model: type[Model]) -> Iterator[Model]:
    for line in lines:
        try:
            yield model.model_validate_json(line)
        except ValidationError:
            continue


def make_folders(path: Path) -> None:
    """Make a folder and its parents such that not everybody may put or replace files in them."""
    for folder in reversed([path, *path.parents]):
        folder.mkdir(mode=FOLDER_RIGHTS, exist_ok=True)


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
        self.made: Any = None
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

    def keep_only(self, made: Found) -> Found:
        """Keep what was made of all this, in its place: the files are still watched."""
        self.found, self.made = {}, made
        return made

    def has_settled(self) -> bool:
        """Whether `holds` would notice every further change."""
        return has_settled(*self._stamps.values())


def once(memory: Memory | None, file: Path, what: str, read: Callable[[], Found]) -> Found:
    """The same, where there is a memory; else it is read now."""
    return read() if memory is None else memory.once(file, what, read)

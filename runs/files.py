"""Reading and writing the files of a run so that nobody ever sees half of one."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def write_model(path: Path, model: BaseModel, *, durable: bool = True) -> None:
    """Replace a JSON file in one step; `durable` waits until it is on the disk."""
    write_text(path, model.model_dump_json(), durable=durable)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one.

    Raises:
        OSError: the disk is full or read-only; the old file is intact and no other is left behind.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o644)  # mkstemp hides the file from the group's other members
            stream.write(text)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_model(path: Path, model: type[Model]) -> Model | None:
    """The file's content, or None where it is missing or not (yet) valid."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def read_json(path: Path) -> Any:
    """Parsed JSON, or None where the file is missing or not JSON. Reads nnU-Net's bare NaN as None."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None


def append_line(path: Path, model: BaseModel) -> None:
    """Append one JSON line in a single write, so that lines never interleave.

    A last line that a kill cut off is ended first, so that it cannot swallow the new one.
    """
    with path.open("ab") as stream:
        torn = stream.tell() > 0 and not _ends_with_newline(path)
        stream.write((b"\n" if torn else b"") + model.model_dump_json().encode() + b"\n")


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def read_lines(path: Path, model: type[Model]) -> Iterator[Model]:
    """Every whole line of a JSONL file; a half-written or broken line is passed over."""
    try:
        stream = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    with stream:
        yield from _valid(stream, model)


def read_last_lines(path: Path, model: type[Model], count: int, *, line_bytes: int = 1024) -> list[Model]:
    """The last whole lines of a JSONL file, oldest first, read from the end: constant time on any length."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            start = max(0, size - count * line_bytes)
            stream.seek(start)
            lines = stream.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    if start > 0 and len(lines) > 1:
        lines = lines[1:]  # cut in the middle
    return list(_valid(lines[-count:], model))


def _valid(lines: Iterable[bytes], model: type[Model]) -> Iterator[Model]:
    for line in lines:
        try:
            yield model.model_validate_json(line)
        except ValidationError:
            continue

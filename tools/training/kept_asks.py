"""A question to nnU-Net's Python that may take longer than a call: it goes on by itself, and its answer is kept.

<state folder>/estimates/<digest>.json    what the process wrote to standard output; its last line is the answer
                         <digest>.log     what it printed
<state folder>/locks/estimate-<digest>    held by the process while it works, also after the server has ended
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ...ask import Failed, NotStarted, TookTooLong
from ...errors import Refused
from ...files import make_folder, read_plain
from ...launch import NOWHERE, inherited, python_command
from ...locks import Lock, lock_name
from ...runs.layout import StateDir

TICK_S = 0.05
MOST_BYTES = 1 << 20

Answer = TypeVar("Answer", bound=BaseModel)


def kept_ask(
    state: StateDir,
    digest: str,
    command: tuple[str, str],
    job: BaseModel,
    answer: type[Answer],
    *,
    wait_s: float,
    newer_than: float = 0.0,
    variables: Mapping[str, str] | None = None,
    holding: Sequence[int] = (),
) -> Answer:
    """The kept answer of `digest`, or that of a process which is started now or is at work on it already.

    `command` is the Python and the module. `newer_than`: an answer from before this time is asked for again.
    `holding`: file descriptors of locks that the process keeps as long as it works.

    Raises:
        Refused: in the process's words.
        NotStarted, Failed: there is no answer.
        TookTooLong: not yet; the process goes on.
    """
    file, lock = _file(state, digest), _lock(state, digest)
    if lock.is_free() and (found := _read(file, answer, newer_than)) is not None:
        return found
    deadline = time.monotonic() + wait_s
    start = partial(_start, python_command(*command, job.model_dump_json()), file, variables, holding)
    begun = False
    while not (begun := begun or _begin(lock, start)) or not lock.is_free():
        if time.monotonic() > deadline:
            raise TookTooLong("it goes on")
        time.sleep(TICK_S)
    if (found := _read(file, answer, newer_than)) is not None:
        return found
    raise _failure(file)


def kept_answer(state: StateDir, digest: str, answer: type[Answer], *, newer_than: float) -> Answer | None:
    """The answer that is kept; nothing is started or waited for."""
    return _read(_file(state, digest), answer, newer_than)


def forget_answer(state: StateDir, digest: str) -> None:
    """The next call asks again."""
    with suppress(OSError):
        _file(state, digest).unlink()


def is_at_work(state: StateDir, digest: str) -> bool:
    """Whether a process looks for this answer now."""
    with suppress(OSError):
        return not _lock(state, digest).is_free()
    return False


def _file(state: StateDir, digest: str) -> Path:
    return state.path / "estimates" / f"{digest}.json"


def _lock(state: StateDir, digest: str) -> Lock:
    return Lock(state.locks_dir / lock_name("estimate", digest))


def _begin(lock: Lock, start: Callable[[Lock], None]) -> bool:
    """Whether a process is at work; not yet, where somebody only looks at the lock, which takes it for a moment."""
    if not lock.is_free():
        return True
    if not lock.try_acquire():
        return False
    try:
        start(lock)
    finally:
        lock.release()  # the process has inherited it
    return True


def _start(
    command: list[str], file: Path, variables: Mapping[str, str] | None, holding: Sequence[int], lock: Lock
) -> None:
    """In a session of its own: whoever ends the server does not end it. It limits its own time."""
    make_folder(file.parent)
    environment = {**inherited(), **(variables or {})}
    with file.open("wb") as out, file.with_suffix(".log").open("wb") as complaints:
        for stream in (out, complaints):
            os.fchmod(stream.fileno(), 0o644)  # only its owner writes it, whatever the umask
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=complaints,
                cwd=NOWHERE,
                env=environment,
                pass_fds=[lock.fileno(), *holding],
                start_new_session=True,
            )
        except OSError as error:
            raise NotStarted(f"{error.strerror or error}: {command[0]}") from None
    threading.Thread(target=process.wait, daemon=True).start()


def _read(file: Path, answer: type[Answer], newer_than: float) -> Answer | None:
    with suppress(OSError, ValidationError):
        if file.stat().st_mtime >= newer_than:
            return answer.model_validate_json(_last_line(file))
    return None


def _failure(file: Path) -> Exception:
    with suppress(OSError, ValueError):
        if isinstance(why := json.loads(_last_line(file)), str):
            return Refused(why)
    try:
        return Failed(1, read_plain(file.with_suffix(".log"), most=MOST_BYTES).decode(errors="replace").strip())
    except OSError:
        return Failed(1, "")


def _last_line(file: Path) -> bytes:
    return read_plain(file, most=MOST_BYTES).strip().rpartition(b"\n")[2]

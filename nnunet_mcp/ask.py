"""Ask a short-lived process of ours a question that the server must not answer itself. Both sides of it are here.

The server must not import torch or nnU-Net, and must survive an image that crashes its reader. So it starts
`python -P -m MODULE`, in nnU-Net's Python or, where only time and memory have to be limited, in its own:

- The process reads the job, a pydantic model, as one line of JSON from standard input, or from its only argument.
- It writes lines of JSON to standard output; the last one is the answer. A picture is answered as its bytes.
- Libraries print to standard error; its last line says why the process failed.
- Exit code 0: answered. REFUSED: the job cannot be done as it is; the last line says why, as a JSON string.
  Any other: failed.
- The process ends when its standard input is closed, so none is left when the server is killed.

`runs/machine/asking.py` asks programs that a driver may block for ever.
"""

import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import IO, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import Refused, RunError
from .launch import NOWHERE, inherited, python_command

REFUSED = 3
TICK_S = 0.2
# A process has nothing left to do after its answer.
EXIT_S = 5.0
# A killed process ends at once, unless a driver keeps it in uninterruptible sleep; then we stop waiting for it.
KILLED_S = 1.0
EXCERPT = 200
BLOCK = 1 << 16

Answer = TypeVar("Answer", bound=BaseModel)
Job = TypeVar("Job", bound=BaseModel)
Say = Callable[[BaseModel], None]


class NoJob(BaseModel):
    """The empty job, for processes that answer only one question."""


class NoAnswer(Exception):
    """The process gave no answer; the text says why."""


class NotStarted(NoAnswer):
    """This Python cannot be started."""


class TookTooLong(NoAnswer):
    """It was killed at its time limit."""


class Failed(NoAnswer):
    """It ended without an answer."""

    def __init__(self, code: int, words: str) -> None:
        self.code, self.words = code, words
        self.last_line = (words.splitlines() or ["no output"])[-1]
        super().__init__(f"exit code {code}: {self.last_line[-EXCERPT:]}")


def ask(
    python: str,
    module: str,
    answer: type[Answer],
    job: BaseModel | None = None,
    *,
    timeout_s: float,
    variables: Mapping[str, str] | None = None,
) -> Answer:
    """Ask for the answer to one job. An answer counts even if the process crashes after it.

    Raises:
        Refused: in the process's words.
        NotStarted, TookTooLong, Failed: there is no answer.
    """
    said = _Said()
    failure = Failed(0, "no output")
    try:
        for block in _blocks(python, module, job, timeout_s, variables):
            said.add(block)
    except Failed as error:
        said.refuse(error)
        failure = error
    try:
        return answer.model_validate_json(said.last_line)
    except ValidationError:
        raise failure from None


def ask_for_bytes(
    python: str, module: str, job: BaseModel, *, timeout_s: float, variables: Mapping[str, str] | None = None
) -> bytes:
    """As `ask`, for a picture."""
    said = _Said()
    try:
        for block in _blocks(python, module, job, timeout_s, variables):
            said.add(block)
    except Failed as error:
        said.refuse(error)
        raise
    if not said.whole:
        raise Failed(0, "no output")
    return bytes(said.whole)


def listen(
    python: str,
    module: str,
    line: type[Answer],
    job: BaseModel,
    *,
    timeout_s: float,
    variables: Mapping[str, str] | None = None,
) -> Generator[Answer | None]:
    """Yield each line as it comes, and None when nothing came for a moment. The process ends when the caller stops
    iterating.

    Raises:
        NotStarted, TookTooLong, Failed: as `ask`.
    """
    rest = b""
    for block in _blocks(python, module, job, timeout_s, variables):
        *whole, rest = (rest + block).split(b"\n")
        if not block:
            yield None
        for text in whole:
            with suppress(ValidationError):
                yield line.model_validate_json(text)


class _Said:
    """What came on standard output."""

    def __init__(self) -> None:
        self.whole = bytearray()

    def add(self, block: bytes) -> None:
        self.whole += block

    @property
    def last_line(self) -> bytes:
        return bytes(self.whole.strip().rpartition(b"\n")[2])

    def refuse(self, error: Failed) -> None:
        """Raise Refused if the process ended with that exit code."""
        if error.code == REFUSED:
            with suppress(ValueError):
                if isinstance(why := json.loads(self.last_line), str):
                    raise Refused(why) from None


def _blocks(
    python: str, module: str, job: BaseModel | None, timeout_s: float, variables: Mapping[str, str] | None
) -> Iterator[bytes]:
    """What the process writes, block by block; an empty block when nothing came for a moment."""
    deadline = time.monotonic() + timeout_s
    with tempfile.TemporaryFile() as complaints:
        process = _start(python_command(python, module), complaints, {**inherited(), **(variables or {})})
        try:
            assert process.stdin is not None
            threading.Thread(target=_hand_over, args=(process.stdin, job or NoJob()), daemon=True).start()
            yield from _read(process, deadline)
            if (code := _exit_code(process)) != 0:
                complaints.seek(0)
                raise Failed(code, complaints.read().decode(errors="replace").strip())
        finally:
            _end(process)


def _start(command: list[str], complaints: IO[bytes], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=complaints, cwd=NOWHERE, env=environment)
    except OSError as error:
        raise NotStarted(f"{error.strerror or error}: {command[0]}") from None


def _hand_over(stdin: IO[bytes], job: BaseModel) -> None:
    """Write the job, which may be larger than a pipe takes at once. The pipe stays open until the answer is there."""
    with suppress(OSError, ValueError):  # the process ended before it had read everything
        stdin.write(job.model_dump_json().encode() + b"\n")
        stdin.flush()


def _read(process: "subprocess.Popen[bytes]", deadline: float) -> Iterator[bytes]:
    """Read until standard output ends. A child of the process may keep it open after the process is gone."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            gone = process.poll() is not None
            if selector.select(0 if gone else min(TICK_S, left)):
                if not (block := os.read(process.stdout.fileno(), BLOCK)):
                    return
                yield block
            elif gone:
                return
            else:
                yield b""
    raise TookTooLong("it took too long")


def _exit_code(process: "subprocess.Popen[bytes]") -> int:
    """The exit code of a process that has closed its output; if it does not end, it is killed."""
    try:
        return process.wait(timeout=EXIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return -9


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    try:
        process.wait(timeout=KILLED_S)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, daemon=True).start()
    for pipe in filter(None, (process.stdout, process.stdin)):
        with suppress(OSError):  # unwritten input is lost with the process
            pipe.close()


def answer(job: type[Job], work: Callable[[Job, Say], BaseModel | bytes | None], *, memory: int | None = None) -> int:
    """The side of the asked process: do the job, write the answer, return the exit code.

    `work` also gets a function for lines before the answer. `memory` is the most bytes that the process may take.
    """
    out = os.dup(1)
    os.dup2(2, 1)  # image libraries print to standard output

    def say(line: BaseModel) -> None:
        _write(out, line.model_dump_json(exclude_none=True).encode() + b"\n")

    text, asked = _job_text()
    if asked:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    if memory is not None:
        with suppress(ValueError, OSError):  # not every system can limit memory
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        found = work(job.model_validate_json(text), say)
    except RunError as error:
        _write(out, json.dumps(str(error)).encode() + b"\n")
        return REFUSED
    if isinstance(found, bytes):
        _write(out, found)
    elif found is not None:
        say(found)
    return 0


def _job_text() -> tuple[bytes, bool]:
    """The job, and whether it came from standard input, which the asking side then keeps open."""
    if len(sys.argv) > 1:
        return sys.argv[1].encode(), False
    found = bytearray()
    while not os.isatty(0) and b"\n" not in found[-BLOCK:] and (block := os.read(0, BLOCK)):
        found += block
    line = bytes(found).partition(b"\n")[0]
    return line or b"{}", bool(line)


def _end_with_stdin() -> None:
    while os.read(0, BLOCK):
        pass
    os._exit(1)


def _write(out: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(out, view) :]

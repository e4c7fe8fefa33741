"""The process that looks at images: started, listened to, and ended with the call that needed it."""

import os
import selectors
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from typing import IO

from pydantic import ValidationError

from ...launch import NOWHERE, inherited, python_command
from ...schemas.datasets import CaseLook, FileLook, LookJob, LookLine

LOOKER = "nnunet_mcp.worker.asks.inspection"
TICK_S = 0.2
EXCERPT = 200


class LookEnded(Exception):
    """The process ended too early; the text says why."""


def looks_of(job: LookJob, python: str, budget_s: float) -> Generator[CaseLook | None]:
    """Each case when it is done, and None where nothing was said for a moment; ends with the budget.

    A case that crashes its reader is named, and the others go on in a new process.

    Raises:
        LookEnded: the process cannot do its work.
    """
    deadline = time.monotonic() + budget_s
    left = {case.case: case for case in job.cases}
    suspects: list[str] = []  # were being read when the process crashed; each is tried alone
    while left and time.monotonic() < deadline:
        batch = [suspects.pop()] if suspects else list(left)
        begun: set[str] = set()
        try:
            cases = tuple(left[name] for name in batch)
            for line in _lines(job.model_copy(update={"cases": cases}), python, deadline):
                begun = (begun | {line.begun or ""}) - {"", line.done.case if line.done else ""}
                if line.done is not None:
                    left.pop(line.done.case, None)
                yield line.done
            left = {name: case for name, case in left.items() if name not in batch}
        except _Crashed as error:
            if not begun:
                raise LookEnded(str(error)) from None
            suspects = sorted(begun) if len(batch) > 1 and len(begun) > 1 else suspects
            if len(batch) == 1 or len(begun) == 1:
                case = left.pop(batch[0] if len(batch) == 1 else begun.pop())
                reason = FileLook(error=f"the image library crashed ({error})", passing=True)
                yield CaseLook(case=case.case, images=tuple(reason for _ in case.images))


class _Crashed(Exception):
    """The process ended with a signal or an error."""


def _lines(job: LookJob, python: str, deadline: float) -> Iterator[LookLine]:
    with tempfile.TemporaryFile() as said:
        process = _start(python, said)
        try:
            assert process.stdin is not None and process.stdout is not None
            threading.Thread(target=_hand_over, args=(process.stdin, job), daemon=True).start()
            yield from _parsed(process.stdout, deadline)
            if time.monotonic() < deadline and _exit_code(process) != 0:
                said.seek(0)
                words = said.read().decode(errors="replace").strip().splitlines() or ["no output"]
                raise _Crashed(f"exit code {process.returncode}: {words[-1][-EXCERPT:]}")
        finally:
            process.kill()
            process.wait()
            for pipe in filter(None, (process.stdout, process.stdin)):
                _close(pipe)


def _start(python: str, said: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {**inherited(), "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    command = python_command(python, LOOKER)
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, cwd=NOWHERE, env=environment)
    except OSError as error:
        raise LookEnded(f"{python} cannot be started: {error.strerror}") from None


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Of a process that has closed its output; one that then goes on is ended."""
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _hand_over(stdin: IO[bytes], job: LookJob) -> None:
    """Write the job; the pipe stays open, so that the process ends when this one does."""
    try:
        stdin.write(job.model_dump_json().encode() + b"\n")
        stdin.flush()
    except (OSError, ValueError):  # it ended before it had read everything
        return


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:  # what was not written is lost with the process
        return


def _parsed(stdout: IO[bytes], deadline: float) -> Iterator[LookLine]:
    """The lines as they come, and an empty one every moment; ends with the process or at the deadline."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(min(TICK_S, left)):
                yield LookLine()
                continue
            block = os.read(stdout.fileno(), 1 << 16)
            if not block:
                return
            *whole, rest = (rest + block).split(b"\n")
            yield from (line for text in whole if (line := _line(text)) is not None)


def _line(text: bytes) -> LookLine | None:
    try:
        return LookLine.model_validate_json(text)
    except ValidationError:
        return None

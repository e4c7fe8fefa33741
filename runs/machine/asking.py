"""Ask a program that may never answer. The caller waits only for a limited time, and the program is never started twice
at once.

A program that a driver holds in uninterruptible sleep cannot be killed, and subprocess.run would wait for it without
limit, even after its timeout. So the handle of the process is kept: the next caller learns at once that it still hangs,
or gets its late answer.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...launch import NOWHERE, inherited

AGAIN_S = 0.1


class NoAnswer(Exception):
    """The program could not be asked, or has not answered; the text says why."""


class StillHangs(NoAnswer):
    """The program was started and has not answered yet."""


@dataclass(frozen=True)
class Answer:
    """What a program said."""

    out: str
    err: str
    code: int


class Question:
    """One program, asked by one process at a time."""

    def __init__(self, what: str, *, wait_s: float, end_s: float) -> None:
        self.what = what
        self.wait_s = wait_s
        self.end_s = end_s
        self._process: subprocess.Popen[str] | None = None
        self._command: Sequence[str] = ()
        self._begun = 0.0
        self._turn = threading.Lock()

    def ask(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Answer:
        """The answer, within `wait_s`. A program that takes longer is left running until `end_s`, and its answer is
        asked for again.

        Raises:
            NoAnswer: it cannot be started.
            StillHangs: it has not answered yet.
        """
        with self._turn:
            answer = self._answer(self._running() or self._start(command, environment))
            if self._command != command:  # a late answer to a different question
                answer = self._answer(self._start(command, environment))
            return answer

    def _answer(self, process: "subprocess.Popen[str]") -> Answer:
        age = time.monotonic() - self._begun
        try:
            out, err = process.communicate(timeout=max(AGAIN_S, self.wait_s - age))
        except subprocess.TimeoutExpired:
            raise self._still_hangs(process, first=age < AGAIN_S) from None
        self._process = None
        return Answer(out, err, process.returncode)

    def _running(self) -> "subprocess.Popen[str] | None":
        """The process that was started before, unless we have ended it since or its answer is too old."""
        late = time.monotonic() - self._begun > self.end_s
        if self._process is not None and (code := self._process.poll()) is not None and (code < 0 or late):
            for stream in (self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()
            self._process = None
        return self._process

    def _start(self, command: Sequence[str], environment: Mapping[str, str] | None) -> "subprocess.Popen[str]":
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                cwd=NOWHERE,
                env=inherited() if environment is None else environment,
                start_new_session=True,
            )
        except OSError as error:
            raise NoAnswer(f"it cannot be started: {error}") from None
        self._command, self._begun = command, time.monotonic()
        return self._process

    def _still_hangs(self, process: "subprocess.Popen[str]", *, first: bool) -> StillHangs:
        age = time.monotonic() - self._begun
        if age >= self.end_s:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        if first:
            return StillHangs(f"{self.what} does not answer within {self.wait_s:.0f} s")
        return StillHangs(f"an earlier question ({self.what}, pid {process.pid}) still hangs after {age:.0f} s")

"""Searching a log for a stranger's regular expression, in a process of its own that has little time and memory.

Some patterns would take years on a short line, and others gigabytes.
"""

import re
import sys
from collections import deque
from itertools import islice
from pathlib import Path

import regex
from pydantic import BaseModel

from ...ask import Failed, TookTooLong, answer, ask
from ...calls import argument
from ...errors import Refused
from .log_file import SEARCH_S, Found, Log, Numbered, in_time

LINE_CHARACTERS = 300
MATCH_S = 1.0
MEMORY_BYTES = 256 * 1024 * 1024
# Starting Python on a busy machine.
START_S = 15.0
CALLS_ITSELF = re.compile(r"\(\s*\?\s*(?:R|&|P\s*[>&]|[+-]?\s*\d)")


class LogSearch(BaseModel):
    """What the process is asked: as much of the log as there was."""

    path: Path
    size: int
    pattern: str
    lines: int
    within_s: float


class Matches(BaseModel):
    """What it found."""

    lines: tuple[tuple[int, str], ...]
    partly: bool


def search(log: Log, pattern: str | None, lines: int) -> Found:
    """The last lines that match, found from the end.

    Raises:
        Refused: no pattern, not a regular expression, or one that takes too long or too much memory.
    """
    if not pattern:
        raise Refused(f"{argument(mode='grep')} needs pattern, for example {argument(pattern='error|warning')}.")
    if CALLS_ITSELF.search(re.sub(r"\\.", "", pattern, flags=re.DOTALL)):
        raise Refused(f"pattern {pattern!r} calls a group or itself, like (?R) or (?1). Write it without recursion.")
    job = LogSearch(path=log.path, size=log.size, pattern=pattern, lines=lines, within_s=SEARCH_S)
    try:
        found = ask(sys.executable, __name__, Matches, job, timeout_s=SEARCH_S + MATCH_S + START_S)
    except (TookTooLong, Failed):
        raise _too_much(pattern) from None
    return Found(list(found.lines), found.partly)


def _too_much(pattern: str) -> Refused:
    return Refused(
        f"Searching for {pattern!r} takes too much memory or time. Use a simpler pattern, or {argument(mode='tail')}."
    )


def grep(log: Log, pattern: str, lines: int, within_s: float = SEARCH_S) -> Found:
    """The last lines that match, found from the end.

    Raises:
        Refused: not a regular expression, or one that takes too long.
    """
    try:
        wanted = regex.compile(pattern, regex.IGNORECASE)
    except regex.error as error:
        raise Refused(f"pattern {pattern!r} is not a regular expression: {error}.") from None
    found: deque[Numbered] = deque()
    try:
        backwards = in_time(log.backwards(), within_s)
        matching = (line for line in backwards if _matches(wanted, line[1][:LINE_CHARACTERS]))
        found.extendleft(islice(matching, lines))
    except TimeoutError:
        return Found(list(found), partly=True)
    return Found(list(found))


def _matches(wanted: "regex.Pattern[str]", text: str) -> bool:
    """Whether the line matches; some patterns would take years on a short line, so the time is limited."""
    try:
        return wanted.search(text, timeout=MATCH_S) is not None
    except TimeoutError:
        raise Refused(
            f"Searching one line for {wanted.pattern!r} took longer than {MATCH_S:.0f} s. Use a simpler pattern, "
            f"without nested repetitions like (a+)+, or {argument(mode='tail')}."
        ) from None


def matches(job: LogSearch) -> Matches:
    """The process's side.

    Raises:
        Refused: as `search`.
    """
    try:
        found = grep(Log(job.path, job.size), job.pattern, job.lines, job.within_s)
    except (MemoryError, RecursionError):
        raise _too_much(job.pattern) from None
    return Matches(lines=tuple(found.lines), partly=found.partly)


if __name__ == "__main__":
    sys.exit(answer(LogSearch, lambda job, say: matches(job), memory=MEMORY_BYTES))

"""Searching a log for a stranger's regular expression, in a process of its own that has little time and memory.

    python -P -m nnunet_mcp.tools.watching.log_search < JOB

Some patterns would take years on a short line, and others gigabytes.
"""

import json
import re
import resource
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import regex

from ...calls import argument
from ...errors import Refused
from ...launch import ask_module
from .log_file import SEARCH_S, Found, Log, Numbered, in_time

LINE_CHARACTERS = 300
MATCH_S = 1.0
MEMORY_BYTES = 256 * 1024 * 1024
# Starting Python on a busy machine.
START_S = 15.0
CALLS_ITSELF = re.compile(r"\(\s*\?\s*(?:R|&|P\s*[>&]|[+-]?\s*\d)")


def search(log: Log, pattern: str | None, lines: int) -> Found:
    """The last lines that match, found from the end.

    Raises:
        Refused: no pattern, not a regular expression, or one that takes too long or too much memory.
    """
    if not pattern:
        raise Refused(f"{argument(mode='grep')} needs pattern, for example {argument(pattern='error|warning')}.")
    if CALLS_ITSELF.search(re.sub(r"\\.", "", pattern, flags=re.DOTALL)):
        raise Refused(f"pattern {pattern!r} calls a group or itself, like (?R) or (?1). Write it without recursion.")
    job = {"path": str(log.path), "size": log.size, "pattern": pattern, "lines": lines, "within_s": SEARCH_S}
    try:
        done = ask_module(sys.executable, __name__, json.dumps(job), timeout_s=SEARCH_S + MATCH_S + START_S)
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise _too_much(pattern) from None
    if "refused" in answer:
        raise Refused(answer["refused"])
    return Found([(number, text) for number, text in answer["lines"]], answer["partly"])


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


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    try:
        log = Log(Path(job["path"]), job["size"])
        return asdict(grep(log, job["pattern"], job["lines"], job["within_s"]))
    except Refused as error:
        return {"refused": str(error)}
    except (MemoryError, RecursionError):
        return {"refused": str(_too_much(job["pattern"]))}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    with suppress(ValueError, OSError):  # not every system can bound it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps(_answer(given)))

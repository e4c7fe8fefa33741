"""nnunet_logs: a bounded part of a stage's log, whatever its size.

Lines are counted and searched by reading the file once in blocks; the newest lines are read from the end.
"""

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import regex

from ..runs.errors import NotFound, Refused
from ..runs.layout import StateDir
from ..runs.look import verdict
from ..runs.settings import Settings
from ..runs.store import find_run
from ..schemas.answers import LogError, LogsAnswer
from ..schemas.requests import LogsRequest
from ..schemas.runs import RunRecord
from .progress import present_stage

LINE_CHARACTERS = 300
TAIL_BYTES = 256 * 1024
SUMMARY_FIRST = 5
MAX_ERRORS = 8
GREP_S = 5.0
ERROR = re.compile(r"\b(?:\w*Error|\w*Exception|FAILED|Killed|out of memory)\b|Traceback|Errno", re.IGNORECASE)
# nnU-Net prints these in every healthy run.
BENIGN = re.compile(
    r"Unable to plot network architecture|perform_everything_on_device=True is only supported|"
    r"invalid value encountered in scalar divide|Failed to load image Python extension|"
    r"If you didn't see any error messages"
)
SECRET = re.compile(r"((?:api[_-]?key|token|password|secret)\w*\s*[=:]\s*)\S+", re.IGNORECASE)


def nnunet_logs(request: LogsRequest, settings: Settings) -> LogsAnswer:
    """Read part of a stage's log.

    Raises:
        NotFound: no such run or stage, or the stage has no log yet.
        Refused: the pattern is missing or not a regular expression.
    """
    run, record = find_run(StateDir(settings.state_dir), request.run_id)
    stage = request.stage or _default_stage(record, settings)
    if stage not in {spec.name for spec in record.stages}:
        names = ", ".join(spec.name for spec in record.stages)
        raise NotFound(f"Run {record.run_id} has no stage {stage!r}. Its stages: {names}.")
    path = run.stage(stage).log_file
    if not path.is_file():
        raise NotFound(f"Stage {stage} has not started, so it has no log yet. nnunet_progress says what it waits for.")
    numbered = _select(path, request)
    total = count_lines(path)
    lines = [f"{_clean(text)}" for _, text in numbered]
    return LogsAnswer(
        run_id=record.run_id,
        stage=stage,
        lines=tuple(lines),
        first_line=numbered[0][0] if numbered else 0,
        last_line=numbered[-1][0] if numbered else 0,
        total_lines=total,
        errors=tuple(_errors(path, total)) if request.mode == "summary" else (),
        size_bytes=path.stat().st_size,
        path=str(path),
        next_step=_next_step(request, numbered, total),
    )


def _default_stage(record: RunRecord, settings: Settings) -> str:
    run = StateDir(settings.state_dir).run(record.run_id)
    found = present_stage(record, verdict(run, record))
    started = [spec.name for spec in record.stages if run.stage(spec.name).log_file.is_file()]
    if found is not None and found.name in started:
        return found.name
    return started[-1] if started else record.stages[0].name


def _select(path: Path, request: LogsRequest) -> list[tuple[int, str]]:
    if request.mode == "tail":
        return tail(path, request.lines)
    if request.mode == "window":
        return window(path, request.start or 1, request.lines)
    if request.mode == "grep":
        return grep(path, request.pattern, request.lines)
    first = window(path, 1, min(SUMMARY_FIRST, request.lines // 2))
    rest = tail(path, request.lines - len(first))
    return first + [(number, text) for number, text in rest if number > len(first)]


def blocks(path: Path) -> Iterator[bytes]:
    """The file in pieces of 1 MiB."""
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            yield block


def count_lines(path: Path) -> int:
    """Number of lines, a last unfinished one included."""
    count, last = 0, b"\n"
    for block in blocks(path):
        count += block.count(b"\n")
        last = block[-1:]
    return count + (last != b"\n")


def tail(path: Path, lines: int) -> list[tuple[int, str]]:
    """The last lines with their numbers, read from the end."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        start = max(0, size - TAIL_BYTES)
        stream.seek(start)
        text = stream.read()
    found = text.removesuffix(b"\n").split(b"\n") if text else []
    if start > 0 and len(found) > 1:
        found = found[1:]  # the first is cut
    kept = found[-lines:]
    first = count_lines(path) - len(kept) + 1
    return [(first + index, _decode(line)) for index, line in enumerate(kept)]


def window(path: Path, start: int, lines: int) -> list[tuple[int, str]]:
    """Lines from number `start`."""
    found = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if number >= start + lines:
                break
            if number >= start:
                found.append((number, _decode(line)))
    return found


def grep(path: Path, pattern: str | None, lines: int) -> list[tuple[int, str]]:
    """The last lines that match.

    Raises:
        Refused: no pattern, not a regular expression, or one that takes too long.
    """
    if not pattern:
        raise Refused("mode='grep' needs pattern, for example pattern='error|warning'.")
    try:
        wanted = regex.compile(pattern, regex.IGNORECASE)
    except regex.error as error:
        raise Refused(f"pattern {pattern!r} is not a regular expression: {error}.") from None
    found: deque[tuple[int, str]] = deque(maxlen=lines)
    deadline = time.monotonic() + GREP_S
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            text = _decode(line)
            if _matches(wanted, text[:LINE_CHARACTERS], deadline):
                found.append((number, text))
    return list(found)


def _matches(wanted: "regex.Pattern[str]", text: str, deadline: float) -> bool:
    """Whether the line matches; some patterns would take years on a short line, so the time is limited."""
    try:
        return wanted.search(text, timeout=max(0.001, deadline - time.monotonic())) is not None
    except TimeoutError:
        raise Refused(
            f"Searching for {wanted.pattern!r} took longer than {GREP_S:.0f} s. Use a simpler pattern, without nested "
            "repetitions like (a+)+, or mode='tail'."
        ) from None


def _decode(line: bytes) -> str:
    # A progress bar rewrites its line with carriage returns: only the last state counts.
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    return text.rsplit("\r", 1)[-1]


def _clean(text: str) -> str:
    text = SECRET.sub(r"\1***", text.replace(str(Path.home()), "~"))
    return text if len(text) <= LINE_CHARACTERS else f"{text[: LINE_CHARACTERS - 1]}…"


def _errors(path: Path, total: int) -> Iterator[LogError]:
    """Distinct errors near the end, with the line of the first and how often they came."""
    seen: dict[str, tuple[int, int]] = {}
    for number, text in tail(path, total):
        if ERROR.search(text) and not BENIGN.search(text):
            key = _clean(text.strip())[:160]
            line, times = seen.get(key, (number, 0))
            seen[key] = (line, times + 1)
    for text, (line, times) in list(seen.items())[-MAX_ERRORS:]:
        yield LogError(line=line, text=text, times=times)


def _next_step(request: LogsRequest, numbered: list[tuple[int, str]], total: int) -> str:
    shown = f"{len(numbered)} of {total} lines"
    if request.mode == "summary":
        return f"Showing {shown}. mode='grep' with a pattern or mode='window' with start shows others."
    if request.mode == "window" and numbered and numbered[-1][0] < total:
        return f"Showing {shown}. Go on with start={numbered[-1][0] + 1}."
    return f"Showing {shown}."

"""nnunet_logs: a bounded part of a stage's log, in the same time and memory whatever its size.

Logs are read from the end. One too large to be counted at once has no line numbers from its beginning: its lines are
numbered from the end, -1 being the last, and `total_lines` is null.
"""

import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import regex

from ..runs.errors import NotFound, Refused
from ..runs.settings import Settings
from ..runs.texts import short
from ..schemas.answers import LogError, LogsAnswer
from ..schemas.requests import LogsRequest
from .timing import retry_after
from .view import View, look

LINE_CHARACTERS = 300
COUNTED_BYTES = 16 * 1024 * 1024
BLOCK_BYTES = 256 * 1024
# Of a longer line, such as a progress bar without an end, only the newest part is kept.
LINE_BYTES = 64 * 1024
ERROR_BYTES = 256 * 1024
SUMMARY_FIRST = 5
MAX_ERRORS = 8
SEARCH_S = 5.0
MATCH_S = 1.0
ERROR = re.compile(r"\b(?:\w*Error|\w*Exception|FAILED|Killed|out of memory)\b|Traceback|Errno", re.IGNORECASE)
# nnU-Net prints these in every healthy run.
BENIGN = re.compile(
    r"Unable to plot network architecture|perform_everything_on_device=True is only supported|"
    r"invalid value encountered in scalar divide|Failed to load image Python extension|"
    r"If you didn't see any error messages"
)
NAMED_SECRET = r"(?P<name>(?:api[_-]?key|token|passw(?:or)?d|secret|authorization)\w*[\"']?\s*[=:]\s*"
SECRETS = (
    re.compile(NAMED_SECRET + r"(?P<quote>[\"']))(?:(?!(?P=quote)).)*", re.IGNORECASE),
    re.compile(NAMED_SECRET + r"(?:(?:Bearer|Basic)\s+)?)[^\s\"',}]+", re.IGNORECASE),
    re.compile(r"(?P<name>\bBearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
)


def nnunet_logs(request: LogsRequest, settings: Settings) -> LogsAnswer:
    """Read part of a stage's log.

    Raises:
        NotFound: no such run or stage, or the stage has no log yet.
        Refused: the pattern is missing or not a regular expression, or `start` lies too deep in a huge log.
    """
    view = look(settings, request.run_id)
    run, record = view.run, view.record
    stage = request.stage or _default_stage(view)
    if stage not in {spec.name for spec in record.stages}:
        names = ", ".join(spec.name for spec in record.stages)
        raise NotFound(f"Run {record.run_id} has no stage {stage!r}. Its stages: {names}.")
    path = run.stage(stage).readable_log
    if not path.is_file():
        raise NotFound(f"Stage {stage} has not started, so it has no log yet. nnunet_progress says what it waits for.")
    log = Log(path)
    found = _select(log, request)
    return LogsAnswer(
        run_id=record.run_id,
        stage=stage,
        lines=tuple(_clean(text) for _, text in found.lines),
        first_line=found.lines[0][0] if found.lines else 0,
        last_line=found.lines[-1][0] if found.lines else 0,
        total_lines=log.total,
        errors=tuple(_errors(log)) if request.mode == "summary" else (),
        size_bytes=log.size,
        path=str(path),
        retry_after_s=retry_after(view),
        next_step=_next_step(request, found, log.total),
    )


def _default_stage(view: View) -> str:
    stages = view.record.stages
    started = [spec.name for spec in stages if view.run.stage(spec.name).readable_log.is_file()]
    if view.spec is not None and view.spec.name in started:
        return view.spec.name
    return started[-1] if started else stages[0].name


Numbered = tuple[int, str]


@dataclass(frozen=True)
class Found:
    """Lines with their numbers; `partly` when the time was over before the whole log was searched."""

    lines: list[Numbered]
    partly: bool = False


class Log:
    """A log as it is now; what is written to it later is not seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.total = count_lines(path, self.size) if self.size <= COUNTED_BYTES else None

    def backwards(self, within: int | None = None) -> Iterator[Numbered]:
        """The lines from the last to the first, those of the last `within` bytes if given."""
        end = 0 if self.total is None else self.total + 1
        for distance, line in enumerate(_lines_backwards(self.path, self.size, within), 1):
            yield end - distance, _decode(line)

    def forwards(self) -> Iterator[Numbered]:
        """The lines from the first to the last."""
        number, begun = 1, b""
        with self.path.open("rb") as stream:
            while stream.tell() < self.size and (piece := stream.readline(LINE_BYTES)):
                begun = (begun + piece)[-LINE_BYTES:]
                if piece.endswith(b"\n") or stream.tell() >= self.size:
                    yield number, _decode(begun)
                    number, begun = number + 1, b""


def count_lines(path: Path, size: int) -> int:
    """Number of lines in the first `size` bytes, a last unfinished one included."""
    count, last, left = 0, b"\n", size
    with path.open("rb") as stream:
        while block := stream.read(min(BLOCK_BYTES, left)):
            count += block.count(b"\n")
            last, left = block[-1:], left - len(block)
    return count + (last != b"\n")


def _lines_backwards(path: Path, size: int, within: int | None) -> Iterator[bytes]:
    """The lines from the last to the first; of each at most the last LINE_BYTES."""
    position, rest = size, b""
    first = 0 if within is None else max(0, size - within)
    with path.open("rb") as stream:
        while position > first:
            length = min(BLOCK_BYTES, position - first)
            position -= length
            stream.seek(position)
            block = stream.read(length)
            if position + length == size:
                block = block.removesuffix(b"\n")
            begun, *lines = (block + rest).split(b"\n")
            yield from (line[-LINE_BYTES:] for line in reversed(lines))
            rest = begun[-LINE_BYTES:]
    if size and first == 0:
        yield rest


def _select(log: Log, request: LogsRequest) -> Found:
    if request.mode == "tail":
        return Found(tail(log, request.lines))
    if request.mode == "window":
        return Found(window(log, request.start or 1, request.lines))
    if request.mode == "grep":
        return grep(log, request.pattern, request.lines)
    first = window(log, 1, min(SUMMARY_FIRST, request.lines // 2))
    rest = tail(log, request.lines - len(first))
    return Found(first + [line for line in rest if log.total is None or line[0] > len(first)])


def tail(log: Log, lines: int) -> list[Numbered]:
    """The last lines with their numbers."""
    return list(islice(log.backwards(), lines))[::-1]


def window(log: Log, start: int, lines: int) -> list[Numbered]:
    """Lines from number `start`; a negative one counts from the end.

    Raises:
        Refused: the log is so large that they are not reached in time.
    """
    if start < 0 and log.total is not None:
        start = max(1, log.total + start + 1)
    try:
        if start < 0:
            return list(islice(_in_time(log.backwards()), max(0, -start - lines), -start))[::-1]
        return list(islice(_in_time(log.forwards()), start - 1, start - 1 + lines))
    except TimeoutError:
        raise Refused(
            f"Line {start} lies too deep in a log of {log.size / 2**30:.1f} GiB. Count from its other end (start=1 is "
            "the first line, start=-1 the last), or use mode='tail'."
        ) from None


def _in_time(lines: Iterator[Numbered]) -> Iterator[Numbered]:
    deadline = time.monotonic() + SEARCH_S
    for line in lines:
        yield line
        if time.monotonic() > deadline:
            raise TimeoutError


def grep(log: Log, pattern: str | None, lines: int) -> Found:
    """The last lines that match, found from the end.

    Raises:
        Refused: no pattern, not a regular expression, or one that takes too long.
    """
    if not pattern:
        raise Refused("mode='grep' needs pattern, for example pattern='error|warning'.")
    try:
        wanted = regex.compile(pattern, regex.IGNORECASE)
    except regex.error as error:
        raise Refused(f"pattern {pattern!r} is not a regular expression: {error}.") from None
    found: deque[Numbered] = deque()
    try:
        matching = (line for line in _in_time(log.backwards()) if _matches(wanted, line[1][:LINE_CHARACTERS]))
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
            "without nested repetitions like (a+)+, or mode='tail'."
        ) from None


def _decode(line: bytes) -> str:
    # A progress bar rewrites its line with carriage returns: only the last state counts.
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    return text.rsplit("\r", 1)[-1]


def _clean(text: str) -> str:
    for secret in SECRETS:
        text = secret.sub(r"\g<name>***", text)
    return short(_beginning(str(Path.home())).sub("~", text), LINE_CHARACTERS)


@cache
def _beginning(home: str) -> re.Pattern[str]:
    """The person's own folder where a path begins with it; nothing for a service whose home is /."""
    return re.compile(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])" if home != "/" else r"(?!)")


def _errors(log: Log) -> Iterator[LogError]:
    """Distinct errors near the end, with the line of the first and how often they came."""
    seen: dict[str, tuple[int, int]] = {}
    for number, text in reversed(list(log.backwards(within=ERROR_BYTES))):
        if ERROR.search(text) and not BENIGN.search(text):
            key = _clean(text.strip())[:160]
            line, times = seen.get(key, (number, 0))
            seen[key] = (line, times + 1)
    for text, (line, times) in list(seen.items())[-MAX_ERRORS:]:
        yield LogError(line=line, text=text, times=times)


def _next_step(request: LogsRequest, found: Found, total: int | None) -> str:
    shown = f"Showing {len(found.lines)} of {'very many' if total is None else total} lines"
    if total is None:
        shown += ", numbered from the end (-1 is the last)" if request.mode != "window" else ""
    if found.partly:
        return f"{shown}. Only the newest part was searched within {SEARCH_S:.0f} s; older lines may match as well."
    if request.mode == "summary":
        return f"{shown}. mode='grep' with a pattern or mode='window' with start shows others."
    last = found.lines[-1][0] if found.lines else 0
    if request.mode == "window" and found.lines and last not in (-1, total):
        return f"{shown}. Go on with start={last + 1}."
    return f"{shown}."

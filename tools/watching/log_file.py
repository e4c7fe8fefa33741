"""A log of any size, read in bounded parts: from the end, or from its beginning for a bounded time.

One too large to be counted at once has no line numbers from its beginning: its lines are numbered from the end, -1
being the last, and `total` is null.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...calls import argument
from ...errors import Refused
from ...files import open_plain

COUNTED_BYTES = 16 * 1024 * 1024
BLOCK_BYTES = 256 * 1024
# Of a longer line, such as a progress bar without an end, only the newest part is kept.
LINE_BYTES = 64 * 1024
SEARCH_S = 5.0
FARTHEST_LINE = 10**12

Numbered = tuple[int, str]


@dataclass(frozen=True)
class Found:
    """Lines with their numbers; `partly` when the time was over before the whole log was searched."""

    lines: list[Numbered]
    partly: bool = False


class Log:
    """A log as it is now; what is written to it later is not seen."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path = path
        self.size = path.stat().st_size if size is None else size
        self.total = count_lines(path, self.size) if self.size <= COUNTED_BYTES else None

    def backwards(self, within: int | None = None) -> Iterator[Numbered]:
        """The lines from the last to the first, those of the last `within` bytes if given."""
        end = 0 if self.total is None else self.total + 1
        for distance, line in enumerate(_lines_backwards(self.path, self.size, within), 1):
            yield end - distance, _decode(line)

    def forwards(self) -> Iterator[Numbered]:
        """The lines from the first to the last."""
        number, begun = 1, b""
        with open_plain(self.path) as stream:
            while stream.tell() < self.size and (piece := stream.readline(LINE_BYTES)):
                begun = (begun + piece)[-LINE_BYTES:]
                if piece.endswith(b"\n") or stream.tell() >= self.size:
                    yield number, _decode(begun)
                    number, begun = number + 1, b""


def count_lines(path: Path, size: int) -> int:
    """Number of lines in the first `size` bytes, a last unfinished one included."""
    count, last, left = 0, b"\n", size
    with open_plain(path) as stream:
        while block := stream.read(min(BLOCK_BYTES, left)):
            count += block.count(b"\n")
            last, left = block[-1:], left - len(block)
    return count + (last != b"\n")


def _lines_backwards(path: Path, size: int, within: int | None) -> Iterator[bytes]:
    """The lines from the last to the first; of each at most the last LINE_BYTES."""
    position, rest = size, b""
    first = 0 if within is None else max(0, size - within)
    with open_plain(path) as stream:
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


def tail(log: Log, lines: int) -> list[Numbered]:
    """The last lines with their numbers."""
    return list(islice(log.backwards(), lines))[::-1]


def window(log: Log, start: int, lines: int) -> list[Numbered]:
    """Lines from number `start`; a negative one counts from the end.

    Raises:
        Refused: the log is so large that they are not reached in time, or no log has so many.
    """
    if abs(start) > FARTHEST_LINE:
        raise Refused(
            f"No log has so many lines. {argument(start=1)} is the first line, {argument(start=-1)} the last."
        )
    if start < 0 and log.total is not None:
        start = max(1, log.total + start + 1)
    try:
        if start < 0:
            return list(islice(in_time(log.backwards(), SEARCH_S), max(0, -start - lines), -start))[::-1]
        return list(islice(in_time(log.forwards(), SEARCH_S), start - 1, start - 1 + lines))
    except TimeoutError:
        raise Refused(
            f"Line {start} lies too deep in a log of {log.size / 2**30:.1f} GiB. Count from its other end "
            f"({argument(start=1)} is the first line, {argument(start=-1)} the last), or use {argument(mode='tail')}."
        ) from None


def in_time(lines: Iterator[Numbered], within_s: float) -> Iterator[Numbered]:
    """The lines for as long as a search may take; then TimeoutError."""
    deadline = time.monotonic() + within_s
    for line in lines:
        yield line
        if time.monotonic() > deadline:
            raise TimeoutError


def _decode(line: bytes) -> str:
    # A progress bar rewrites its line with carriage returns: only the last state counts.
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    return text.rsplit("\r", 1)[-1]

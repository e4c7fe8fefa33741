"""What answers are printed with: a console, lines, tables, cards and notes."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...texts import visible
from .spelling import spelled

STYLES = {
    "success": "green",
    "ok": "green",
    "running": "cyan",
    "queued": "yellow",
    "warning": "yellow",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "error": "red",
    "problem": "red",
}
PIPE_WIDTH = 10_000


class Screen(Console):
    """A console that raises BrokenPipeError when its reader has ended, so that the command can decide what to do."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Standard output; colours and width only if it is a terminal."""
    terminal = sys.stdout.isatty()
    width = None if terminal else PIPE_WIDTH
    return Screen(force_terminal=terminal, width=width, markup=False, highlight=False, emoji=False)


def line(screen: Console, text: str, style: str | None = None) -> None:
    """One line as it is, without characters from a log or a file name that could control the terminal."""
    screen.print(Text(visible(spelled(text)), style=style or ""), soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds in the two largest units.

    >>> duration(5025)
    '1 h 24 min'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    told = [f"{number} {unit}" for number, unit in parts if number][:2]
    return " ".join(told) or "0 s"


def draw_table(screen: Console, heads: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Rows under their heads, as wide as they are."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, overflow="fold", no_wrap=number < 2)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    screen.print(table)


def _cell(value: object) -> Text:
    if isinstance(value, float):
        return Text(f"{value:.4f}", justify="right")
    text = "" if value is None else visible(spelled(str(value)))
    return Text(text, style=STYLES.get(text, ""))


def draw_card(screen: Console, pairs: Iterable[tuple[str, object]]) -> None:
    """Names with their values; what is empty is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", ()):
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else _cell(value))
    screen.print(table)


def draw_notes(screen: Console, notes: Iterable[str]) -> None:
    """A dim line for each note."""
    for note in notes:
        line(screen, f"note: {note}", "dim")


def draw_next(screen: Console, text: str) -> None:
    """What to do next, if anything."""
    if text:
        line(screen, text, "dim")

"""Follow all runs: on a terminal one screen that keeps itself up to date, elsewhere a line for each change."""

import time
from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...schemas.records import ACTIVE
from ...schemas.run_list import RunLine, RunsRequest
from ...settings import Settings
from ...texts import visible
from ...tools.watching.runs import nnunet_runs
from .codes import Code
from .screen import STYLES, console, duration, line
from .watch import LINES_PER_STAGE, end_in_order

EVERY_S = 2.0
RUNS = 200
# Columns of a window in which each run has two lines, and in which it has all its columns.
NARROW, WIDE = 70, 110
TITLE_AND_END = 3
NOTHING = "No runs yet."


def watch_all(settings: Settings) -> Code:
    """Follow every run until Ctrl-C, or without a terminal until none is at work."""
    end_in_order()
    screen = console()
    try:
        if not screen.is_terminal:
            return _tell(screen, settings)
        _show(screen, settings)
    except KeyboardInterrupt:
        pass
    return Code.CTRL_C


def _show(screen: Console, settings: Settings) -> None:
    runs = _runs(settings)
    # A screen of its own is drawn anew as a whole, so that nothing is left askew when the window changes its size.
    with suppress(KeyboardInterrupt), Live(console=screen, screen=True, get_renderable=lambda: Runs(runs)):
        while True:
            time.sleep(EVERY_S)
            runs = _runs(settings)
    screen.print(Runs(runs, whole=True))


def _tell(screen: Console, settings: Settings) -> Code:
    said: dict[str, object] = {}
    while True:
        runs = _runs(settings)
        for run in reversed(runs):
            news = (run.status, run.stage, _step(run))
            if said.get(run.run_id) != news:
                said[run.run_id] = news
                line(screen, "  ".join([run.run_id, *_words(run)]))
        if not any(run.status in ACTIVE for run in runs):
            return Code.DONE
        time.sleep(EVERY_S)


def _runs(settings: Settings) -> list[RunLine]:
    """Those at work first, however old they are, then the newest."""
    newest = nnunet_runs(RunsRequest(limit=RUNS), settings)
    older = sorted(ACTIVE, reverse=True) if newest.total > len(newest.runs) else ()
    at_work = [nnunet_runs(RunsRequest(limit=RUNS, status=status), settings).runs for status in older]
    found = {run.run_id: run for runs in (*at_work, newest.runs) for run in runs}
    return sorted(found.values(), key=lambda run: run.status not in ACTIVE)


def _step(run: RunLine) -> object:
    """What is worth a line of its own: a hundredth of the epochs."""
    done, _, planned = (run.epoch or "").partition("/")
    return int(done) * LINES_PER_STAGE // int(planned) if done and planned else done


def _words(run: RunLine) -> list[str]:
    """Status, stage, epoch, time left and scores, as far as they are known."""
    parts = [
        run.status,
        (run.stage or "") if run.status != "success" else "",
        f"epoch {run.epoch}" if run.epoch and run.status != "success" else "",
        f"{duration(run.eta_s)} left" if run.eta_s is not None else "",
        f"Dice {run.dice:.4f}" if run.dice is not None else "",
        run.problem or "",
    ]
    return [part for part in parts if part]


class Runs:
    """The runs as wide and as high as the window is now."""

    def __init__(self, runs: list[RunLine], *, whole: bool = False) -> None:
        self.runs, self.whole = runs, whole

    def __rich_console__(self, screen: Console, _: object) -> Iterable[RenderableType]:
        narrow = screen.width < NARROW
        room = max(1, (screen.height - TITLE_AND_END) // (2 if narrow else 1))
        shown = self.runs if self.whole else self.runs[:room]
        at_work = sum(run.status in ACTIVE for run in self.runs)
        yield _cut(f"{at_work} at work, {len(self.runs)} in all", "bold")
        yield _lines(shown) if narrow else _table(shown, wide=screen.width >= WIDE)
        left = len(self.runs) - len(shown)
        yield _cut(f"and {left} more; Ctrl-C ends this, never a run" if left else self._end(), "dim")

    def _end(self) -> str:
        return NOTHING if not self.runs else "" if self.whole else "Ctrl-C ends this, never a run"


def _lines(runs: list[RunLine]) -> RenderableType:
    return Group(
        *(
            part
            for run in runs
            for part in (_cut(run.run_id, ""), _cut(f"  {', '.join(_words(run))}", STYLES.get(run.status, "")))
        )
    )


def _table(runs: list[RunLine], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    heads = ["run", "status", *(["dataset"] if wide else []), "stage", "epoch", "left", "Dice", ""]
    for head in heads:
        table.add_column(head, no_wrap=True, overflow="ellipsis", ratio=1 if head == "" else None)
    for run in runs:
        cells = [
            run.run_id,
            run.status,
            *([run.dataset] if wide else []),
            run.stage if run.status in ACTIVE else None,
            run.epoch if run.status in ACTIVE else None,
            None if run.eta_s is None else duration(run.eta_s),
            None if run.dice is None else f"{run.dice:.4f}",
            run.problem or run.note,
        ]
        table.add_row(*(_cut(cell or "", STYLES.get(cell or "", "")) for cell in cells))
    return table


def _cut(text: str, style: str) -> Text:
    return Text(visible(text, " "), style=style, no_wrap=True, overflow="ellipsis")

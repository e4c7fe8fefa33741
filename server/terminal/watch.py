"""Follow a run: on a terminal a bar for each stage, elsewhere a line for each change."""

import signal
import sys
from collections.abc import Callable
from functools import partial

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from ...schemas.progress import ProgressAnswer
from ...schemas.records import ACTIVE, StageSpec
from ...settings import Settings
from ...texts import visible
from ...tools.watching.progress import Look, answer, wait_for_news
from ...tools.watching.snapshot import RunSnapshot, tend
from ...tools.watching.timing import fraction, percent
from .codes import Code
from .screen import console, duration, line

WAIT_S = 5.0
LINE_CHARACTERS = 200
LINES_PER_STAGE = 100
Tell = Callable[[RunSnapshot], None]


def watch(run_id: str, settings: Settings, *, quiet: bool) -> ProgressAnswer:
    """Follow a run to its end; returns its last state.

    Raises:
        NotFound: no such run.
        SystemExit: Ctrl-C ended the watching. The run goes on.
    """
    end_in_order()
    try:
        return answer(anyio.run(_follow, run_id, settings, quiet))
    except KeyboardInterrupt:
        print(
            f"\nStopped watching; run {run_id} goes on. `nnunet-mcp progress {run_id} --watch` watches again, "
            f"`nnunet-mcp cancel {run_id}` stops it.",
            file=sys.stderr,
        )
        raise SystemExit(Code.CTRL_C) from None


def end_in_order() -> None:
    """Let SIGTERM end the watching as Ctrl-C does, so that the terminal gets its cursor back. In the background, where
    shells have Ctrl-C ignored, SIGTERM keeps its default effect."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `timeout` sends its signal twice
    signal.raise_signal(signal.SIGINT)


async def _follow(run_id: str, settings: Settings, quiet: bool) -> RunSnapshot:
    again = partial(tend, settings, run_id)
    view, screen = again(), console()
    if quiet:
        return await _until_the_end(view, again, lambda view: None)
    if not screen.is_terminal:
        return await _until_the_end(view, again, Lines(screen))
    with Bars(screen, view) as bars:
        return await _until_the_end(view, again, bars)


async def _until_the_end(view: RunSnapshot, again: Look, tell: Tell) -> RunSnapshot:
    tell(view)
    while view.judged.status in ACTIVE:
        view = await wait_for_news(view, again, WAIT_S)
        tell(view)
    return view


class Lines:
    """A plain line for each change of status, stage or phase, and at most a hundred per training for its epochs."""

    def __init__(self, screen: Console) -> None:
        self.screen = screen
        self.said: tuple[object, ...] | None = None

    def __call__(self, view: RunSnapshot) -> None:
        now = answer(view)
        step = (now.epoch or 0) * LINES_PER_STAGE // now.epochs if now.epochs else now.epoch
        news = (now.status, now.stage, (now.phase or "").split(" ")[0], step)
        if news != self.said:
            self.said = news
            line(self.screen, _plain(now)[:LINE_CHARACTERS])


def _plain(now: ProgressAnswer) -> str:
    where = [now.status, now.stage, now.phase, numbers(now)]
    return f"{now.percent:5.1f} %  " + ", ".join(part for part in where if part)


def numbers(now: ProgressAnswer) -> str:
    """Epoch, losses, pseudo Dice and time left, where they are known."""
    parts = [
        f"epoch {now.epoch}/{now.epochs}" if now.epochs and now.epoch is not None else "",
        f"train_loss {now.train_loss:.3f}" if now.train_loss is not None else "",
        f"val_loss {now.val_loss:.3f}" if now.val_loss is not None else "",
        f"pseudo Dice {now.pseudo_dice:.3f}" if now.pseudo_dice is not None else "",
        f"about {duration(now.eta_s)} left" if now.eta_s is not None else "",
    ]
    return ", ".join(part for part in parts if part)


class Bars:
    """A bar for each stage; the last state stays on the screen."""

    def __init__(self, screen: Console, view: RunSnapshot) -> None:
        text, detail = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[detail]}", markup=False)
        columns = (text, BarColumn(bar_width=24), TaskProgressColumn(), detail)
        self.progress = Progress(*columns, console=screen, refresh_per_second=2)
        self.tasks = {spec.name: self._add(spec) for spec in view.record.stages}
        self.whole = self.progress.add_task("whole run", total=100, detail="")

    def _add(self, spec: StageSpec) -> TaskID:
        return self.progress.add_task(spec.name, total=100, detail="reused" if spec.reused else "")

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, view: RunSnapshot) -> None:
        now = answer(view)
        for spec in view.record.stages:
            done = 100 * fraction(view, spec, view.judged.stages[spec.name])
            self.progress.update(self.tasks[spec.name], completed=done, detail=self._detail(view, now, spec))
        left = f"about {duration(now.eta_s)} left" if now.eta_s is not None else now.status
        self.progress.update(self.whole, completed=percent(view), detail=left)

    def _detail(self, view: RunSnapshot, now: ProgressAnswer, spec: StageSpec) -> str:
        if spec.reused:
            return "reused"
        status = view.judged.stages[spec.name]
        if spec.name != now.stage or status == "success":
            return "" if status == "queued" else status
        of_stage = now.model_copy(update={"eta_s": _stage_eta(now), "train_loss": None, "val_loss": None})
        return visible(", ".join(part for part in (now.phase or status, numbers(of_stage)) if part))


def _stage_eta(now: ProgressAnswer) -> int | None:
    if now.eta_s is None or now.epoch_s is None or now.epochs is None:
        return None
    return max(0, round(now.epoch_s * (now.epochs - (now.epoch or 0))))

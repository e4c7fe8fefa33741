"""What a worker reports while it works: progress.json, at most once a second."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..files import write_model
from ..runs.layout import StageDir
from ..schemas.records import Progress

INTERVAL_S = 1.0


class StopRequested(Exception):
    """Somebody asked for the run to stop, and the worker has reached a point where it can."""


class Reporter:
    """Writes the stage's progress and notices when it should stop."""

    def __init__(self, stage: StageDir, cancel_file: Path) -> None:
        self._stage = stage
        self._stop_files = (cancel_file, stage.pause_file)
        self._fields: dict[str, Any] = {"phase": "starting"}
        self._section, self._since = (0.0, 1.0), time.time()
        # An earlier attempt of the stage may have been further; what it has done stays told until it is reached again.
        earlier = stage.progress()
        self._part = earlier.part if earlier else 0.0
        self._written = 0.0
        # Written in a thread: a network file system may be slow, and the next step need not wait for it.
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._aside: Future[None] | None = None

    def section(self, begins: float, ends: float) -> None:
        """From now on the work fills this section of the stage, 0-1."""
        self._section, self._since = (begins, ends), time.time()

    def say(self, phase: str, **fields: Any) -> None:
        """Begin a phase; written at once."""
        self._fields = {"phase": phase, **fields}
        self._write()

    def tick(self, **fields: Any) -> None:
        """Report that work goes on; written at most once a second."""
        self._fields.update(fields)
        if time.monotonic() - self._written >= INTERVAL_S and (self._aside is None or self._aside.done()):
            self._written = time.monotonic()
            self._aside = self._pool.submit(self._save, self._now())

    def enter(self, phase: str, **fields: Any) -> None:
        """Continue in this phase; written at once if it is a new one."""
        changed = phase != self._fields.get("phase")
        self._fields.update(phase=phase, **fields)
        if changed:
            self._write()
        else:
            self.tick()

    def stop_requested(self) -> bool:
        """Whether somebody asked for the run to stop, or for the stage to pause."""
        return any(path.exists() for path in self._stop_files)

    def stop_here(self) -> None:
        """End the stage if somebody asked for it.

        Raises:
            StopRequested: somebody did.
        """
        if self.stop_requested():
            raise StopRequested

    def _write(self) -> None:
        if self._aside is not None:
            self._aside.result()  # or an older state could be written after this one
        self._written = time.monotonic()
        self._save(self._now())

    def _now(self) -> Progress:
        now = Progress(heartbeat=time.time(), **self._fields)
        begins, ends = self._section
        self._part = max(self._part, begins + (ends - begins) * _inner_part(now))
        return now.model_copy(update={"part": round(self._part, 6), "since": self._since})

    def _save(self, progress: Progress) -> None:
        try:
            write_model(self._stage.progress_file, progress, durable=False)
        except OSError as error:  # a full disk must not end a training that does not need it now
            print(f"progress could not be written: {error}", flush=True)


def _inner_part(now: Progress) -> float:
    """How much of a section is done, by its cases or its epochs and their steps; 0-1."""
    if now.total:
        return min(1.0, (now.done or 0) / now.total)
    if now.epochs and now.epoch is not None:
        steps = (now.iteration or 0) / now.iterations if now.iterations else 0.0
        return min(1.0, (now.epoch + min(1.0, steps)) / now.epochs)
    return 0.0


class Silent(Reporter):
    """The reporter of the other processes of a stage: only rank 0 writes."""

    def _save(self, progress: Progress) -> None:
        """Nothing."""

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
        self._written = 0.0
        # Written in a thread: a network file system may be slow, and the next step need not wait for it.
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._aside: Future[None] | None = None

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
        return Progress(heartbeat=time.time(), **self._fields)

    def _save(self, progress: Progress) -> None:
        try:
            write_model(self._stage.progress_file, progress, durable=False)
        except OSError as error:  # a full disk must not end a training that does not need it now
            print(f"progress could not be written: {error}", flush=True)


class Silent(Reporter):
    """The reporter of the other processes of a stage: only rank 0 writes."""

    def _save(self, progress: Progress) -> None:
        """Nothing."""

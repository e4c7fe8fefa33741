"""What a worker says while it works: progress.json, at most once a second."""

import time
from pathlib import Path
from typing import Any

from ..runs.files import write_model
from ..runs.layout import StageDir
from ..schemas.runs import Progress

INTERVAL_S = 1.0


class StopRequested(Exception):
    """Somebody asked for the run to stop, and this is a good place to."""


class Reporter:
    """Writes the stage's progress and notices when it should stop."""

    def __init__(self, stage: StageDir, cancel_file: Path) -> None:
        self._stage = stage
        self._stop_files = (cancel_file, stage.pause_file)
        self._fields: dict[str, Any] = {"phase": "starting"}
        self._written = 0.0

    def say(self, phase: str, **fields: Any) -> None:
        """Begin a phase; written at once."""
        self._fields = {"phase": phase, **fields}
        self._write()

    def tick(self, **fields: Any) -> None:
        """Report movement; written when a second has passed."""
        self._fields.update(fields)
        if time.monotonic() - self._written >= INTERVAL_S:
            self._write()

    def enter(self, phase: str, **fields: Any) -> None:
        """Go on in this phase; written at once where it is another one than before."""
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
        self._written = time.monotonic()
        try:
            write_model(self._stage.progress_file, Progress(heartbeat=time.time(), **self._fields), durable=False)
        except OSError as error:  # a full disk must not end a training that does not need it now
            print(f"progress could not be written: {error}", flush=True)


class Silent(Reporter):
    """That of a further process of the same stage: rank 0 speaks for all."""

    def _write(self) -> None:
        """Nothing."""

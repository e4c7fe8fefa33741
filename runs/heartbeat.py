"""A file whose time of change says that the process that looks after a run is alive."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from ..rights import RIGHTS

HEARTBEAT_S = 15.0


@dataclass
class Heartbeat:
    """The heart of one process."""

    file: Path
    _beat_at: float | None = None

    def beat(self) -> None:
        """Touch the file, if the last time was long enough ago. A full disk must not end the run."""
        if self._beat_at is None or time.monotonic() - self._beat_at > HEARTBEAT_S:
            self._beat_at = time.monotonic()
            with contextlib.suppress(OSError):
                self.file.touch(RIGHTS)

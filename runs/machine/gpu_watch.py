"""The newest report on the GPUs, for a loop that must never wait for a driver."""

import threading
import time

from ...schemas.gpus import FoundGpus
from .gpus import FRESH_S, MACHINE

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0


class GpuWatch:
    """Asks for the GPUs in a thread of its own, less and less often while nothing changes."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._found: FoundGpus | None = None
        self._seen_at = self._due = 0.0
        self._pause = FIRST_PAUSE_S
        self._thread: threading.Thread | None = None

    def newest(self) -> FoundGpus | None:
        """The newest report; None before the first."""
        if time.monotonic() >= self._due and not (self._thread and self._thread.is_alive()):
            self._due = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
            self._thread = threading.Thread(target=self._ask, daemon=True)
            self._thread.start()
        return self._found

    def is_fresh(self) -> bool:
        """Whether the newest report is recent enough to start something on a GPU."""
        return time.monotonic() - self._seen_at < FRESH_S

    def ask_often(self) -> None:
        """Ask often again: something has changed."""
        self._pause = FIRST_PAUSE_S
        self._due = min(self._due, max(time.monotonic(), self._seen_at + FIRST_PAUSE_S))

    def _ask(self) -> None:
        self._found = MACHINE.find(self._python, max_age_s=FIRST_PAUSE_S / 2)
        self._seen_at = time.monotonic()

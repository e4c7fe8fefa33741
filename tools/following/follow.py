"""Follow a run to its end, and tell one target what is new.

It is a process of its own, so nothing that happens to it reaches the training: a service that is down is tried again,
ever less often, and one that does not answer is left after a while.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from ...files import make_folder, write_model
from ...locks import Lock
from ...runs.layout import RunDir, read_run
from ...schemas.records import ACTIVE, RunRecord, Untold
from ...settings import Settings
from ..watching.snapshot import RunSnapshot
from .notify import Notifier
from .targets import Untellable
from .tracking import tracking

POLL_S = 2.0
# Of a run elsewhere Slurm is asked, which other users ask, too.
FAR_POLL_S = 30.0
LONGEST_PAUSE_S = 300.0
# Longer than MLflow and apprise wait for an answer.
TELL_S = 180
# How long a target that is down may take to come back after the run's end.
LAST_TRIES_S = 3600.0


class Teller(Protocol):
    """Tells one target. `lost` says what will never be told."""

    lost: str

    def tell(self, view: RunSnapshot) -> bool:
        """Tell what is new; returns whether there will be no more."""
        ...


def follow(path: str, target: str) -> None:
    """Follow the run in a folder. If another process does so already, it is left to that one.

    Raises:
        NotFound: there is no readable run.json.
    """
    run, record = read_run(path)
    settings = Settings()
    make_folder(run.told_dir)
    lock = Lock(run.told_lock(target))
    if lock.try_acquire():
        os.nice(settings.nice)
        Follower(run, record, settings, target).follow()
        run.told_lock(target).unlink(missing_ok=True)  # one that is left tells that its follower was killed


@dataclass
class Follower:
    """One run, followed for one target."""

    run: RunDir
    record: RunRecord
    settings: Settings
    target: str
    teller: Teller | None = None
    usual_pause_s: float = POLL_S
    failures: int = 0
    at_rest_since: float | None = None

    def follow(self) -> None:
        """Look and tell until there is no more to tell, the run's record is gone, or it is too late."""
        while self.run.run_file.is_file() and not self._look() and not self._is_too_late():
            time.sleep(self._pause())

    def _look(self) -> bool:
        try:
            view = RunSnapshot.of(self.run, self.record, self.settings)
            self.usual_pause_s = POLL_S if view.is_here else FAR_POLL_S
            if view.judged.status not in ACTIVE:
                self.at_rest_since = self.at_rest_since or time.monotonic()
            with _within(TELL_S):
                done = self._teller().tell(view)
        except Exception as error:  # whatever a library raises
            self._note(error)
            return False
        if self.failures:
            self.failures = 0
            self._told_all(self._teller().lost)
        return done

    def _teller(self) -> Teller:
        if self.teller is None:
            notifies = self.target == "notify"
            self.teller = Notifier(self.run, self.settings) if notifies else tracking(self.target, self.settings)
        return self.teller

    def _note(self, error: Exception) -> None:
        """Say in the run's notes that something is missing. A library's words may hold an address, so they are not
        repeated."""
        self.failures += 1
        unknown = f"{self.target} cannot be told now ({type(error).__name__})"
        self._write(str(error) if isinstance(error, Untellable) else unknown)

    def _told_all(self, but: str) -> None:
        if but:
            self._write(but)
        else:
            self.run.untold_file(self.target).unlink(missing_ok=True)

    def _write(self, why: str) -> None:
        with suppress(OSError):  # the disk is full, or the run's record is gone
            write_model(self.run.untold_file(self.target), Untold(why=why), durable=False)

    def _pause(self) -> float:
        return min(LONGEST_PAUSE_S, self.usual_pause_s * (1 << min(self.failures, 10)))

    def _is_too_late(self) -> bool:
        since = self.at_rest_since
        return since is not None and bool(self.failures) and time.monotonic() - since > LAST_TRIES_S


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in whatever waits longer, and again in what comes after it."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

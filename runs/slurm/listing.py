"""What Slurm says about jobs: one call of squeue for all jobs of a user, and sacct for jobs that squeue forgot."""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from .commands import SlurmRefused, SlurmSilent, call

FRESH_S = 10.0
SILENT_S = 30.0
ACCOUNTING_S = 60.0
FORMAT = "%i|%T|%r|%e|%Z"

# scontrol's and squeue's words: https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES
WAITING = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
ALIVE = ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")


@dataclass(frozen=True)
class Job:
    """One Slurm job. `end` is when it ended, or will end at the latest, if that is known."""

    id: str
    state: str
    reason: str = ""
    end: float | None = None
    folder: str = ""

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def ended(self) -> bool:
        return not self.waits and not self.alive


@dataclass
class Listing:
    """All jobs of one user at one time."""

    at: float
    jobs: dict[str, Job] = field(default_factory=dict)

    def in_folder(self, folder: Path) -> Job | None:
        """The newest job that was submitted from a folder: each stage has its own. sbatch reports the folder without
        links."""
        real = os.path.realpath(folder)
        found = [job for job in self.jobs.values() if job.folder == real]
        return max(found, key=lambda job: int(job.id), default=None) if found else None


@dataclass
class Desk:
    """Asks Slurm about one user's jobs, not too often, and remembers the last answer."""

    user: str
    last: Listing | None = None
    _silent: str = ""
    _asked: float = 0.0

    def listing(self, *, newer_than: float = 0.0) -> Listing:
        """All jobs that the controller knows, including those that ended within the last minutes.

        Raises:
            SlurmSilent: it cannot be asked.
        """
        age = time.time() - self._asked
        if self._silent and age < SILENT_S:
            raise SlurmSilent(self._silent)
        if self.last is None or age > FRESH_S or self.last.at <= newer_than:
            self._ask()
        assert self.last is not None
        return self.last

    def _ask(self) -> None:
        at = time.time()
        try:
            text = call("squeue", "--noheader", "--array", "--states=all", f"--user={self.user}", f"--format={FORMAT}")
        except SlurmRefused as error:  # squeue has no reason to refuse: its plugins or its configuration are at fault
            self._silent, self._asked = str(error), time.time()
            raise SlurmSilent(self._silent) from error
        except SlurmSilent as error:
            self._silent, self._asked = str(error), time.time()
            raise
        self.last, self._silent, self._asked = Listing(at, parse_squeue(text)), "", time.time()


_desks: dict[str, Desk] = {}
_accounted: dict[str, Job] = {}
_not_accounted: dict[str, float] = {}
_no_accounting: list[str] = []


def desk_of(user: str) -> Desk:
    """The one Desk of this process for a user."""
    return _desks.setdefault(user, Desk(user))


def parse_squeue(text: str) -> dict[str, Job]:
    """Jobs by id, from lines in FORMAT."""
    fields = (line.split("|", 4) for line in text.splitlines() if line.count("|") >= 4)
    return {job: Job(job, state, reason, _time(end), folder) for job, state, reason, end, folder in fields}


def accounted(jobs: Collection[str]) -> dict[str, Job]:
    """What the accounting knows about ended jobs, in one call; empty if there is no accounting."""
    lately = time.time() - ACCOUNTING_S
    wanted = [job for job in jobs if job not in _accounted and _not_accounted.get(job, 0.0) < lately]
    _not_accounted.update(dict.fromkeys(wanted, time.time()))
    if wanted and not _no_accounting:
        try:
            options = ("--noheader", "--parsable2", "--allocations", "--format=JobIDRaw,State,End")
            text = call("sacct", *options, f"--jobs={','.join(wanted)}")
        except SlurmRefused as error:
            _no_accounting.append(str(error))
        except SlurmSilent:
            pass
        else:
            _accounted.update({job.id: job for job in parse_sacct(text) if job.ended})
    return {job: _accounted[job] for job in jobs if job in _accounted}


def parse_sacct(text: str) -> list[Job]:
    """Jobs from lines of JobIDRaw|State|End; "CANCELLED by 1000" is CANCELLED."""
    fields = (line.split("|") for line in text.splitlines() if line.count("|") == 2)
    return [Job(job, (state.split() or [""])[0], end=_time(end)) for job, state, end in fields]


def _time(text: str) -> float | None:
    return float(text) if text.isdigit() else None

"""Where all files of a run are. No other module builds these paths.

<state dir>/
    locks/<name>.lock           held by flock: the kernel frees the lock of a dead holder; each host has its own slots
    claims/<fold folder>.json   the run that was last started on a fold folder
    requests/<request_id>.json  the run that a client's request_id started
    looks/<dataset>.json        what was found in a dataset's images, by the files' identity
    trainers/<trainer>.py       a trainer made for `changes`; nnU-Net finds it through nnUNet_extTrainer
    estimates/<digest>.json     what nnU-Net's Python said of a planned network, by all that it depends on
    runs/<run_id>/
        run.json                once, before anything starts
        submit.lock             held by the process that starts the run, while engine.json is written
        engine.json             by the supervisor, its first act
        heartbeat               touched by the supervisor
        supervisor.log          the supervisor's own output
        cancel.json             by the server that is asked to cancel
        queue.json              by the server that is asked to hold the run, or to let it go first
        result.json             by the supervisor, at the end of a run that succeeded
        provenance.json         by the supervisor, its last act
        told/<event>            empty; made by the process that tells it, before it does: each is told once
        told/<target>.lock      held by the process that tells notify, tensorboard or mlflow, removed when it is done
        told/<target>.json      by that process: why something is not told
        stages/<stage>/
            state.json          by the supervisor
            progress.json       by the worker, at most once a second
            epochs.jsonl        by the worker, one line per epoch
            <subject>.txt       by the worker, notes for the result
            outcome.json        by the worker, its last act
            log.txt             stdout and stderr of the worker

On Slurm each stage's job is the stage's parent, and the server that starts the run submits the jobs:
        engine.json             by the server that holds submit.lock
        result.json             by the last stage's job, as provenance.json
        stages/<stage>/
            job.sh              the job's script, before it is submitted
            job.log             the job's own output
            state.json          by the job
            heartbeat           touched by the job
            pause               by the job: time is nearly up, save and end
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ..errors import NotFound
from ..files import Memory, once, read_last_lines, read_lines, read_model, read_plain, write_text
from ..schemas.outcomes import AnyOutcome
from ..schemas.records import (
    CancelRecord,
    EngineRecord,
    Epoch,
    JobsRecord,
    Outcome,
    Progress,
    Provenance,
    QueueRecord,
    RunRecord,
    StageState,
    Untold,
)
from ..settings import Settings

# As many as the health of a training is judged by: two windows of 100.
REMEMBERED_EPOCHS = 200
# What a stage has notes on before its outcome is written, in the order in which they are told.
Subject = Literal["resumed", "compile", "transfer"]
# Who may be told of a run while it goes on.
TARGETS = ("notify", "tensorboard", "mlflow")


@dataclass(frozen=True)
class StageDir:
    """The files of one stage."""

    path: Path
    memory: Memory | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def progress_file(self) -> Path:
        return self.path / "progress.json"

    @property
    def epochs_file(self) -> Path:
        return self.path / "epochs.jsonl"

    @property
    def outcome_file(self) -> Path:
        return self.path / "outcome.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def readable_log(self) -> Path:
        """The log to read: the worker's, or on Slurm the job's own if no worker began."""
        return self.log_file if self.log_file.is_file() or not self.job_log.is_file() else self.job_log

    @property
    def script_file(self) -> Path:
        return self.path / "job.sh"

    @property
    def job_log(self) -> Path:
        return self.path / "job.log"

    @property
    def heartbeat_file(self) -> Path:
        return self.path / "heartbeat"

    @property
    def pause_file(self) -> Path:
        return self.path / "pause"

    def state(self) -> StageState | None:
        return once(self.memory, self.state_file, "state", lambda: read_model(self.state_file, StageState))

    def progress(self) -> Progress | None:
        return once(self.memory, self.progress_file, "progress", lambda: read_model(self.progress_file, Progress))

    def outcome(self) -> Outcome | None:
        return once(self.memory, self.outcome_file, "outcome", self._read_outcome)

    def _read_outcome(self) -> Outcome | None:
        found = read_model(self.outcome_file, AnyOutcome)
        return found.root if found else None

    def write_notes(self, about: Subject, notes: Iterable[str]) -> None:
        """Keep one note per line for the result, in place of what an earlier attempt wrote on the same subject."""
        write_text(self.path / f"{about}.txt", "".join(f"{note}\n" for note in notes))

    def notes(self) -> list[str]:
        """What the stage noted so far; its outcome repeats it."""
        files = (self.path / f"{about}.txt" for about in get_args(Subject))
        return [line for file in files if file.is_file() for line in read_plain(file).decode("utf-8").splitlines()]

    def recent_epochs(self, count: int) -> list[Epoch]:
        """The last epochs in order, in a time that does not depend on the length of the history."""
        if self.memory is None:
            return _in_order(read_last_lines(self.epochs_file, Epoch, count))
        if (self.epochs_file, "all") in self.memory.found:
            return self.epochs()[-count:]
        known, epochs = self.memory.found.get((self.epochs_file, "recent"), (0, []))
        if known < count:
            self.memory.watch(self.epochs_file)
            known, epochs = count, _in_order(read_last_lines(self.epochs_file, Epoch, count))
            self.memory.found[self.epochs_file, "recent"] = known, epochs
        return list(epochs[-count:])

    def epochs(self) -> list[Epoch]:
        """The whole history in order; if an epoch was trained twice, its last line counts."""
        return once(self.memory, self.epochs_file, "all", lambda: _in_order(read_lines(self.epochs_file, Epoch)))


def _in_order(lines: Iterable[Epoch]) -> list[Epoch]:
    by_number = {line.epoch: line for line in lines}
    return [by_number[number] for number in sorted(by_number)]


@dataclass(frozen=True)
class RunDir:
    """The files of one run.

    `at_one_moment()` has a memory: whatever was read of a file stays as it was, so that an answer that looks several
    times does not contradict itself.
    """

    path: Path
    memory: Memory | None = field(default=None, compare=False, repr=False)

    def at_one_moment(self) -> "RunDir":
        """The same folder, of which every file is read at most once."""
        return RunDir(self.path, Memory())

    def afresh(self) -> "RunDir":
        """The same folder without a memory, for what may have changed since or is about to be changed."""
        return RunDir(self.path)

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def engine_file(self) -> Path:
        return self.path / "engine.json"

    @property
    def heartbeat_file(self) -> Path:
        return self.path / "heartbeat"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def cancel_file(self) -> Path:
        return self.path / "cancel.json"

    @property
    def queue_file(self) -> Path:
        return self.path / "queue.json"

    @property
    def submit_lock(self) -> Path:
        return self.path / "submit.lock"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def provenance_file(self) -> Path:
        return self.path / "provenance.json"

    @property
    def told_dir(self) -> Path:
        return self.path / "told"

    def told_lock(self, target: str) -> Path:
        return self.told_dir / f"{target}.lock"

    def untold_file(self, target: str) -> Path:
        return self.told_dir / f"{target}.json"

    def stage(self, name: str) -> StageDir:
        return StageDir(self.path / "stages" / name, self.memory)

    def record(self) -> RunRecord | None:
        return once(self.memory, self.run_file, "record", lambda: read_model(self.run_file, RunRecord))

    def engine(self) -> EngineRecord | None:
        return once(self.memory, self.engine_file, "engine", lambda: read_model(self.engine_file, EngineRecord))

    def jobs(self) -> JobsRecord | None:
        return once(self.memory, self.engine_file, "jobs", lambda: read_model(self.engine_file, JobsRecord))

    def provenance(self) -> Provenance | None:
        return once(
            self.memory, self.provenance_file, "provenance", lambda: read_model(self.provenance_file, Provenance)
        )

    def untold(self, target: str) -> Untold | None:
        file = self.untold_file(target)
        return once(self.memory, file, "untold", lambda: read_model(file, Untold))

    def cancel(self) -> CancelRecord | None:
        return once(self.memory, self.cancel_file, "cancel", lambda: read_model(self.cancel_file, CancelRecord))

    def queue(self) -> QueueRecord:
        """What people want of its place in the queue; nothing where there is no such file."""
        found = once(self.memory, self.queue_file, "queue", lambda: read_model(self.queue_file, QueueRecord))
        return found or QueueRecord()

    def beside(self, run_id: str) -> "RunDir":
        """Another run of the same state folder."""
        return RunDir(self.path.with_name(run_id))

    def remove(self) -> None:
        """Remove the record of the run; for readers it disappears in one step."""
        hidden = self.path.with_name(f".forgotten-{self.run_id}")
        self.path.rename(hidden)
        shutil.rmtree(hidden)


def read_run(path: str) -> tuple[RunDir, RunRecord]:
    """The run in a folder, for a process that carries it out.

    Raises:
        NotFound: there is no readable run.json.
    """
    run = RunDir(Path(path))
    record = run.record()
    if record is None:
        raise NotFound(f"{run.run_file} is missing or not readable")
    return run, record


@dataclass(frozen=True)
class StateDir:
    """The project's own folder beside the models."""

    path: Path

    @classmethod
    def of(cls, settings: Settings) -> "StateDir":
        """The one that a server or a worker with these settings uses."""
        return cls(settings.state_dir)

    @property
    def runs_dir(self) -> Path:
        return self.path / "runs"

    @property
    def locks_dir(self) -> Path:
        return self.path / "locks"

    @property
    def claims_dir(self) -> Path:
        return self.path / "claims"

    @property
    def requests_dir(self) -> Path:
        return self.path / "requests"

    @property
    def looks_dir(self) -> Path:
        return self.path / "looks"

    def run(self, run_id: str) -> RunDir:
        return RunDir(self.runs_dir / run_id)

    def run_ids(self) -> Iterator[str]:
        """Every run that has been recorded, in no order."""
        if self.runs_dir.is_dir():
            yield from (name for name in os.listdir(self.runs_dir) if not name.startswith("."))  # noqa: PTH208

"""What a Slurm job runs: one attempt at one stage, as its parent.

    python -P -m nnunet_mcp.runs.slurm.job <run directory> <stage>

It does for its stage what the supervisor does here, and is the only writer of the stage's state.json. Slurm sends
SIGUSR1 ahead of the time limit: the worker saves and ends, and the job puts itself back into the queue.
"""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from types import FrameType

from ...calls import argument
from ...files import RIGHTS
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...schemas.records import CancelRecord, Failure, RunRecord, StageSpec, StageState, Status
from ...settings import Settings
from ..layout import RunDir, StageDir, read_run
from ..machine.gpus import MACHINE, visible
from ..processes import kill_all
from ..stage_end import Grace, Heartbeat, States, clear_up, close_run, ended_state, not_started
from ..stage_process import Child, Grant, start_child
from .commands import SlurmError, requeue
from .job_states import GO_ON, ending_of, last_word
from .listing import Job
from .options import attempts, warn_s
from .submit import todo

POLL_S = 0.2
TERM_WAIT_S = 5.0
# Reserved at the end of the warning time: to end the worker and to ask Slurm to requeue the job.
RESERVE_S = 30.0


@dataclass
class StageJob:
    """One attempt at one stage."""

    run: RunDir
    record: RunRecord
    spec: StageSpec
    settings: Settings
    job_id: str
    attempt: int = 1
    warned_at: float | None = None
    terminated: bool = False
    states: States = field(init=False)
    heart: Heartbeat = field(init=False)
    grace: Grace = field(default_factory=Grace)
    _log_start: int = 0

    def __post_init__(self) -> None:
        self.states = States(self.run)
        self.heart = Heartbeat(self.stage.heartbeat_file)

    @classmethod
    def of(cls, path: str, stage: str) -> "StageJob":
        """Read the stage that this Slurm job is for.

        Raises:
            NotFound: there is no readable run.json.
        """
        run, record = read_run(path)
        spec = next(spec for spec in record.stages if spec.name == stage)
        return cls(run, record, spec, Settings(), os.environ.get("SLURM_JOB_ID", ""))

    @property
    def stage(self) -> StageDir:
        return self.run.stage(self.spec.name)

    @property
    def _on_gpu(self) -> bool:
        return self.spec.traits.slot == "device" and self.record.device == "cuda"

    def carry_out(self) -> int:
        """Carry out the stage; the exit code tells Slurm whether the jobs after it may start."""
        state = self._attempt()
        if state is None:  # the job goes back into the queue
            return 0
        self._write_at_last(state)
        if state.status == "success" and self.spec == todo(self.record)[-1]:
            close_run(self.run, self.record, succeeded=True)
        return 0 if state.status == "success" else 1

    def _attempt(self) -> StageState | None:
        earlier, outcome = self.stage.state(), self.stage.outcome()
        self.attempt = earlier.attempt + 1 if earlier else 1
        if outcome is not None and outcome.ok:  # the stage succeeded, but no job was left to record it
            known = earlier or StageState(status="success")
            return known.model_copy(update={"status": "success", "ended_at": known.ended_at or time.time()})
        if self.run.cancel_file.exists():
            return StageState(status="cancelled", attempt=self.attempt - 1, ended_at=time.time())
        if self.attempt > attempts(self.record.slurm):
            return self._over("interrupted", self._too_often())
        for path in (self.stage.outcome_file, self.stage.pause_file):
            path.unlink(missing_ok=True)
        self._log_start = self.stage.job_log.stat().st_size if self.stage.job_log.exists() else 0
        before = self._saved()
        try:
            child = start_child(self.run, self.record, self.spec, self._grant(), self.settings, on_gpu=self._on_gpu)
        except OSError as error:
            return not_started(error).model_copy(update={"attempt": self.attempt})
        child.state = child.state.model_copy(update={"attempt": self.attempt})
        self.states.write(self.spec.name, child.state)
        return self._ending(child, self._watch(child), saved=self._saved() != before)

    def _grant(self) -> Grant:
        """What the job was given: Slurm decided, so the GPUs are those that it shows to the job."""
        return Grant([], [], gpus=visible(MACHINE.find(self.settings.nnunet_python), None)[0] if self._on_gpu else [])

    def _write_at_last(self, state: StageState) -> None:
        self.states.write(self.spec.name, state)
        self.states.settle()

    def _watch(self, child: Child) -> int:
        while (code := child.process.poll()) is None:
            self.heart.beat()
            self.states.try_again()
            child.stop_if_stalled(self.settings.stall_timeout_s)
            self._pause()
            if (cancel := self.run.cancel()) is not None:
                self._cancel(cancel)
            time.sleep(POLL_S)
        clear_up(self.record, child)
        return code

    def _pause(self) -> None:
        """The time limit is near: the worker stops after its epoch; shortly before the limit it is killed."""
        if self.warned_at is None:
            return
        if not self.stage.pause_file.exists():
            with contextlib.suppress(OSError):  # the disk is full: the worker is killed below
                self.stage.pause_file.touch(RIGHTS)
        warned = warn_s(self.record.slurm)
        if time.monotonic() > self.warned_at + max(warned - RESERVE_S, warned / 2):
            kill_all(self.stage.path, term_wait_s=TERM_WAIT_S)

    def _cancel(self, cancel: CancelRecord) -> None:
        if self.grace.is_over(cancel):
            kill_all(self.stage.path, term_wait_s=TERM_WAIT_S if cancel.grace_s else 0.0)

    def _ending(self, child: Child, code: int, *, saved: bool) -> StageState | None:
        cancelled, outcome = self.run.cancel_file.exists(), child.stage.outcome()
        state = ended_state(child, code, cancelled=cancelled, stall_timeout_s=self.settings.stall_timeout_s)
        cut_off = outcome is None or outcome.stopped
        if cancelled or state.status == "success" or child.stalled or not cut_off:
            return state
        if self.terminated:
            return self._ended_by_slurm(state)
        return self._again(state, saved=saved) if self.warned_at is not None else state

    def _again(self, state: StageState, *, saved: bool) -> StageState | None:
        """Requeue the job, unless a further attempt would not get further."""
        if self.spec.traits.goes_on == "anew" or (self.spec.traits.goes_on == "checkpoint" and not saved):
            return self._over("error", self._too_short(), state)
        if self.attempt >= attempts(self.record.slurm):
            return self._over("interrupted", self._too_often(), state)
        said = f"attempt {self.attempt} reached the time limit, saved, and is back in the queue"
        self._write_at_last(StageState(status="queued", attempt=self.attempt, waits_for=said))
        try:
            requeue(self.job_id)
        except SlurmError as error:
            cause = "the time limit was reached and the job could not be requeued"
            failure = Failure(cause=cause, evidence=str(error), remedy=GO_ON, resume=True)
            return self._over("interrupted", failure, state)
        return None

    def _ended_by_slurm(self, state: StageState) -> StageState:
        """SIGTERM: scancel, preemption or the time limit. Slurm writes which of them into the job's log."""
        deadline = time.monotonic() + TERM_WAIT_S
        while (why := last_word(self.stage.job_log, since=self._log_start)) is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        status, failure = ending_of(Job(self.job_id, why or "ENDED"), "")
        return self._over(status, failure, state)

    def _over(self, status: Status, failure: Failure, state: StageState | None = None) -> StageState:
        base = state or StageState(status=status, attempt=self.attempt - 1)
        return base.model_copy(update={"status": status, "failure": failure, "ended_at": time.time()})

    def _saved(self) -> float | None:
        """When the fold's newest checkpoint was written, from which the next attempt would resume."""
        files = DatasetFiles(self.record.folders, self.record.dataset_name)
        newest = FoldFiles(files.fold_of(self.record, self.spec)).checkpoints()[:1]
        return newest[0].stat().st_mtime if newest else None

    def _too_often(self) -> Failure:
        return Failure(
            cause=f"the stage was started {attempts(self.record.slurm)} times and is not done",
            evidence=f"attempts={attempts(self.record.slurm)}",
            remedy=f"Give each job more time, e.g. {argument(slurm=['time=24:00:00'])}.",
            resume=True,
        )

    def _too_short(self) -> Failure:
        done = "no checkpoint was saved" if self.spec.traits.goes_on == "checkpoint" else "it was not done"
        return Failure(
            cause="the time limit is too short for this stage",
            evidence=f"{done} in attempt {self.attempt}",
            remedy=f"Give the job more time, e.g. {argument(slurm=['time=24:00:00'])}.",
            resume=True,
        )

    def on_warning(self, number: int, frame: FrameType | None) -> None:
        """SIGUSR1: the time limit is near."""
        self.warned_at = self.warned_at or time.monotonic()

    def on_end(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: Slurm ends the job; its other processes get the same signal."""
        self.terminated = True
        self.warned_at = self.warned_at or time.monotonic()


def main() -> None:
    """Carry out the stage that the command line names."""
    job = StageJob.of(sys.argv[1], sys.argv[2])
    signal.signal(signal.SIGUSR1, job.on_warning)
    signal.signal(signal.SIGTERM, job.on_end)
    sys.exit(job.carry_out())


if __name__ == "__main__":
    main()

"""How a stage ended, recorded by its parent: the supervisor on this machine, the stage's job on Slurm."""

import contextlib
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ..files import RIGHTS, write_model
from ..nnunet.old_models import put_back
from ..schemas.records import CancelRecord, Failure, Outcome, RunRecord, StageState, Status
from ..texts import for_agents
from .engines import verdict
from .failures.diagnosis import diagnose
from .layout import RunDir
from .processes import kill_all
from .provenance import compose_provenance
from .result import compose_result
from .stage_process import Child

RETRY_S = 2.0
HEARTBEAT_S = 15.0


def clear_up(record: RunRecord, child: Child) -> None:
    """After the worker has ended: kill its remaining processes, and put back the old model if the new training left
    none."""
    kill_all(child.stage.path)  # data-loader workers
    put_back(record, child.spec)


def ended_state(child: Child, code: int, *, cancelled: bool, stall_timeout_s: float) -> StageState:
    """What the end of a stage's process proves."""
    outcome = child.stage.outcome()
    status = _ending_status(code, outcome, cancelled=cancelled, stalled=child.stalled)
    failure = None
    if status in ("error", "interrupted"):
        progress = child.stage.progress()
        failure = (outcome.failure if outcome else None) or diagnose(
            child.stage.log_file,
            code=code,
            stalled_s=stall_timeout_s if child.stalled else None,
            phase=progress.phase if progress and child.on_gpu else "",
        )
    return child.state.model_copy(
        update={
            "status": status,
            "ended_at": time.time(),
            "exit_code": code if code >= 0 else None,
            "signal": signal.Signals(-code).name if code < 0 else None,
            "failure": failure,
        }
    )


def _ending_status(code: int, outcome: Outcome | None, *, cancelled: bool, stalled: bool) -> Status:
    """What an ended process proves. Exit code 0 alone proves nothing."""
    if outcome is not None and outcome.ok:
        return "success"
    if cancelled and (outcome is None or outcome.stopped):
        return "cancelled"
    if outcome is None and code < 0 and not stalled:
        return "interrupted"
    return "error"


def not_started(error: OSError) -> StageState:
    """The state of a stage whose process could not be started."""
    failure = Failure(
        cause=f"the stage's process could not be started: {error.strerror or error}",
        evidence=str(error),
        remedy="Correct what is wrong with this machine, then start the request again.",
    )
    return StageState(status="error", ended_at=time.time(), failure=failure)


def given_up(state: StageState, error: Exception) -> StageState:
    """The state of a stage whose parent failed; how the stage ended is unknown."""
    failure = Failure(
        cause="nnunet-mcp failed while it looked after the stage, and ended it",
        evidence=f"{type(error).__name__}: {error}",
        remedy="supervisor.log in the run's folder says where: please report it.",
        resume=True,
    )
    return state.model_copy(update={"status": "interrupted", "ended_at": time.time(), "failure": failure})


def say(text: str) -> None:
    """Write a line into the parent's own log; a full disk must not end the run."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


@dataclass
class Heartbeat:
    """A file that the parent of a run or a stage touches while it lives."""

    file: Path
    _beat_at: float | None = None

    def beat(self) -> None:
        """Touch the file if the last time was long enough ago. A full disk must not end the run."""
        if self._beat_at is None or time.monotonic() - self._beat_at > HEARTBEAT_S:
            self._beat_at = time.monotonic()
            with contextlib.suppress(OSError):
                self.file.touch(RIGHTS)


class Grace:
    """How long a run may still take that was asked to stop. It is counted from when the parent first saw the request.

    The host that wrote the request may have another clock, and any clock can be changed.
    """

    def __init__(self) -> None:
        self._request: CancelRecord | None = None
        self._seen_at = 0.0

    def is_over(self, request: CancelRecord) -> bool:
        if request != self._request:
            self._request, self._seen_at = request, time.monotonic()
        return time.monotonic() - self._seen_at >= request.grace_s


class States:
    """Writes the states of a run's stages. A state that cannot be written is kept and tried again.

    If the run's folder itself is gone, with its disk or because somebody removed it, the state is dropped.
    """

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._unwritten: dict[str, StageState] = {}
        self._tried_at = 0.0

    @property
    def all_written(self) -> bool:
        return not self._unwritten

    def write(self, stage: str, state: StageState) -> None:
        """Write a state, now or as soon as the disk accepts it."""
        self._unwritten[stage] = state
        self._try()

    def try_again(self) -> None:
        """Try once in a while to write what could not be written."""
        if self._unwritten and time.monotonic() - self._tried_at > RETRY_S:
            self._try()

    def settle(self) -> None:
        """Wait until everything is written; for a parent that has nothing else to do."""
        while not self.all_written:
            time.sleep(RETRY_S)
            self._try()

    def _try(self) -> None:
        self._tried_at = time.monotonic()
        for stage, state in list(self._unwritten.items()):
            try:
                write_model(self._run.stage(stage).state_file, state)
            except OSError as error:
                if self._run.path.is_dir():
                    say(f"cannot write the state of {stage}: {error}")
                    continue
            del self._unwritten[stage]


def close_run(run: RunDir, record: RunRecord, *, succeeded: bool) -> None:
    """Write the last files of a run: its result if it succeeded, and its provenance."""
    # They are for people, and for repeating the run; nothing depends on them.
    with contextlib.suppress(OSError):
        if succeeded and run.path.is_dir():
            write_model(run.result_file, for_agents(compose_result(run, record, verdict(run, record))))
        write_model(run.provenance_file, compose_provenance(run, record))

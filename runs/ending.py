"""How a stage ended, written down by its parent: the supervisor here, the stage's own job on Slurm."""

import contextlib
import signal
import time

from ..schemas.runs import Failure, Outcome, RunRecord, StageState, Status
from .child import Child
from .diagnosis import diagnose
from .files import write_model
from .layout import RunDir
from .provenance import compose_provenance
from .result import compose_result

RETRY_S = 2.0


def ended_state(child: Child, code: int, *, cancelled: bool, stall_timeout_s: float) -> StageState:
    """What the end of a stage's process proves."""
    outcome = child.stage.outcome()
    status = _ending_status(code, outcome, cancelled=cancelled, stalled=child.stalled)
    failure = None
    if status in ("error", "interrupted"):
        failure = (outcome.failure if outcome else None) or diagnose(
            child.stage.log_file, code=code, stalled_s=stall_timeout_s if child.stalled else None
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
        remedy="nnunet_system names what is wrong with this machine; correct it, then start the request again.",
    )
    return StageState(status="error", ended_at=time.time(), failure=failure)


def write_state(run: RunDir, stage: str, state: StageState) -> None:
    """Write a state down; on a full disk try again until it is there, because it is the truth.

    Where the run's folder itself is gone, with its disk or because somebody removed it, nobody is left to be told.
    """
    while True:
        try:
            write_model(run.stage(stage).state_file, state)
            return
        except OSError as error:
            if not run.path.is_dir():
                return
            print(f"cannot write the state of {stage}: {error}", flush=True)
            time.sleep(RETRY_S)


def close_run(run: RunDir, record: RunRecord, *, succeeded: bool) -> None:
    """The last files of a run: its result if it has one, and what repeats it."""
    if succeeded and run.path.is_dir():
        write_model(run.result_file, compose_result(run, record))
    # For whoever repeats the run; nothing depends on it.
    with contextlib.suppress(OSError):
        write_model(run.provenance_file, compose_provenance(run, record))

"""Start a recorded run on its engine, so that nothing that happens to the caller reaches it.

Here that is a supervisor of its own; on Slurm it is a job for each stage.
"""

import subprocess
import sys

from ..errors import Refused, Unavailable
from ..launch import inherited, python_command
from ..rights import to_append
from ..schemas.records import RunRecord
from ..settings import Settings
from ..texts import SAID_LENGTH, short_in_json
from .layout import RunDir
from .slurm.commands import SlurmRefused
from .slurm.submit import go_on_submitting, submit
from .store import remove

LAUNCH_S = 30.0
SUPERVISOR = "nnunet_mcp.runs.local.supervisor"


def start_run(run: RunDir, record: RunRecord, settings: Settings) -> None:
    """Start the run and return at once.

    Raises:
        Refused: Slurm refuses the jobs; the run is gone again.
        Unavailable: it could not be started.
    """
    if record.engine == "local":
        start_supervisor(run, settings)
        return
    try:
        submit(run, record, settings)
    except Refused:
        remove(run)
        raise
    except SlurmRefused as error:
        remove(run)
        raise Refused(f"Slurm refuses the run's jobs: {error}.", about="jobs") from None


def go_on_starting(run: RunDir, record: RunRecord, settings: Settings) -> None:
    """Finish a start that a kill cut off between two jobs."""
    if record.engine == "slurm":
        go_on_submitting(run, record, settings)


def start_supervisor(run: RunDir, settings: Settings) -> None:
    """Start the run's supervisor in a session of its own and return at once.

    The process started here forks and ends, so the supervisor is nobody's child: clients that kill the
    server's process group, session or tree do not find it, and it leaves no zombie in the server.

    Raises:
        Unavailable: it could not be started; where that is certain, the run is gone again.
    """
    environment = {**inherited(settings.hand_on), **settings.environment}
    with to_append(run.supervisor_log) as log:
        try:
            launcher = subprocess.Popen(
                python_command(sys.executable, SUPERVISOR, str(run.path)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=run.path,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(run, str(error)) from error
        try:
            code = launcher.wait(timeout=LAUNCH_S)
        except subprocess.TimeoutExpired as error:
            launcher.kill()
            launcher.wait()
            raise Unavailable(f"The supervisor of run {run.run_id} could not be started: {error}") from error
    if code > 0:  # it failed before it forked; one that was killed may have forked
        raise _not_started(run, run.supervisor_log.read_text(encoding="utf-8", errors="replace"))


def _not_started(run: RunDir, said: str) -> Unavailable:
    """The error for a run that will never start. Its record goes, so that it keeps no fold from the next request."""
    remove(run)
    why = short_in_json(said.strip().rpartition("\n")[2], SAID_LENGTH)
    return Unavailable(
        f"The supervisor of run {run.run_id} could not be started: {why}. Nothing was started.", about="machine"
    )

"""Stop a run: ask first, then make sure."""

import contextlib
import time
from collections.abc import Callable

import psutil

from ..errors import Unavailable
from ..files import write_model
from ..liveness import liveness
from ..nnunet.old_models import put_back
from ..schemas.records import CancelRecord, ProcessMark, RunRecord, Status
from .evidence import verdict
from .layout import RunDir
from .processes import kill_all
from .slurm.cancel import cancel_jobs

END_WAIT_S = 10.0


def request_cancel(
    run: RunDir, record: RunRecord, *, grace_s: float, say: Callable[[str], object] = lambda remark: None
) -> Status:
    """Ask the run to stop within `grace_s` seconds and return its status after that.

    With a supervisor or a Slurm job, that does the rest. Without one, what is left of the run is ended here.
    Asking twice is fine; a shorter grace replaces a longer one. `say` is told what went otherwise.

    Raises:
        Unavailable: the wish cannot be written down, and the run cannot be ended from here.
    """
    status = verdict(run, record).status
    if status not in ("queued", "running"):
        sweep(run, record)
        return status
    earlier = run.cancel()
    if earlier is None or grace_s < earlier.grace_s:
        try:
            write_model(run.cancel_file, CancelRecord(requested_at=time.time(), grace_s=grace_s))
        except OSError as error:
            return _end_at_once(run, record, error, say)
    if record.engine == "slurm":
        cancel_jobs(run, record, gracefully=grace_s > 0)
    elif not _supervised(run):
        sweep(run, record)
    return verdict(run, record).status


def _end_at_once(run: RunDir, record: RunRecord, error: OSError, say: Callable[[str], object]) -> Status:
    """Where the wish cannot be written down, on a full disk, who would have read it is ended with the rest."""
    if record.engine == "local":
        engine = run.engine()
        if engine is None or not _end(engine.supervisor):
            raise Unavailable(
                f"The wish to stop {run.run_id} cannot be written down ({error}), and its supervisor cannot be ended "
                f"from here. Make room in {run.path} or make it writable, then cancel again."
            )
    sweep(run, record)
    status = verdict(run, record).status
    say(f"The wish to stop could not be written down ({error}), so the processes were ended at once.")
    return status


def _end(mark: ProcessMark) -> bool:
    """Kill the marked process; returns whether it is gone."""
    with contextlib.suppress(psutil.Error):
        if liveness(mark) == "alive":
            process = psutil.Process(mark.pid)
            process.kill()
            process.wait(timeout=END_WAIT_S)
    return liveness(mark) == "dead"


def _supervised(run: RunDir) -> bool:
    engine = run.engine()
    return engine is None or liveness(engine.supervisor) != "dead"


def sweep(run: RunDir, record: RunRecord) -> None:
    """End whatever still carries the run's mark, for example data loaders that lost their parent."""
    if record.engine == "slurm":
        cancel_jobs(run, record, gracefully=False)
        return
    specs = [spec for spec in record.stages if not spec.reused]
    kill_all(*(run.stage(spec.name).path for spec in specs), term_wait_s=2.0)
    for spec in specs:
        put_back(record, spec)

"""Stop a run: ask first, then make sure."""

import time

from ..schemas.runs import CancelRecord, RunRecord, Status
from .files import write_model
from .layout import RunDir
from .liveness import liveness
from .look import verdict
from .processes import kill_all
from .slurm.cancel import cancel_jobs


def request_cancel(run: RunDir, record: RunRecord, *, grace_s: float) -> Status:
    """Ask the run to stop within `grace_s` seconds and return its status after that.

    With a supervisor or a Slurm job, that does the rest. Without one, what is left of the run is ended here.
    Asking twice is fine; a shorter grace replaces a longer one.
    """
    status = verdict(run, record).status
    if status not in ("queued", "running"):
        sweep(run, record)
        return status
    earlier = run.cancel()
    if earlier is None or grace_s < earlier.grace_s:
        write_model(run.cancel_file, CancelRecord(requested_at=time.time(), grace_s=grace_s))
    if record.engine == "slurm":
        cancel_jobs(run, record, gracefully=grace_s > 0)
    elif not _supervised(run):
        sweep(run, record)
    return verdict(run, record).status


def _supervised(run: RunDir) -> bool:
    engine = run.engine()
    return engine is None or liveness(engine.supervisor) != "dead"


def sweep(run: RunDir, record: RunRecord) -> None:
    """End whatever still carries the run's mark, for example data loaders that lost their parent."""
    if record.engine == "slurm":
        cancel_jobs(run, record, gracefully=False)
        return
    kill_all(*(run.stage(spec.name).path for spec in record.stages if not spec.reused), term_wait_s=2.0)

"""Stop a run: ask first, then make sure."""

import time
from collections.abc import Callable

from ..errors import Unavailable
from ..files import write_model
from ..schemas.records import ACTIVE, CancelRecord, RunRecord, Status
from .engines import engine_of, verdict
from .layout import RunDir

POLL_S = 0.2


def request_cancel(
    run: RunDir, record: RunRecord, *, grace_s: float, say: Callable[[str], object] = lambda remark: None
) -> Status:
    """Ask the run to stop within `grace_s` seconds, and return its status after that.

    Its supervisor or its Slurm jobs do the rest; the engine ends what nobody supervises. A run can be asked again; a
    shorter grace replaces a longer one. `say` is told what went differently.

    Raises:
        Unavailable: cancel.json cannot be written, and the run cannot be ended from here.
    """
    engine, status = engine_of(record), verdict(run, record).status
    if status not in ACTIVE:
        engine.sweep(run, record)
        return status
    earlier = run.cancel()
    if earlier is None or grace_s < earlier.grace_s:
        try:
            write_model(run.cancel_file, CancelRecord(requested_at=time.time(), grace_s=grace_s))
        except OSError as error:
            return _end_at_once(run, record, error, say)
    engine.cancel(run, record, gracefully=grace_s > 0)
    return verdict(run, record).status


def await_end(run: RunDir, record: RunRecord, *, seconds: float) -> Status:
    """The run's status when it is at rest, or after so many seconds. At rest none of its processes is left here."""
    deadline = time.monotonic() + seconds
    while (status := verdict(run, record).status) in ACTIVE and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if status not in ACTIVE:
        engine_of(record).sweep(run, record)
    return status


def _end_at_once(run: RunDir, record: RunRecord, error: OSError, say: Callable[[str], object]) -> Status:
    """End everything at once where cancel.json cannot be written, for example on a full disk."""
    try:
        engine_of(record).end(run, record)
    except Unavailable as why:
        raise Unavailable(
            f"The request to stop {run.run_id} cannot be written ({error}), and {why}. Make room in {run.path} or "
            "make it writable, then cancel again."
        ) from None
    status = verdict(run, record).status
    say(f"The request to stop could not be written ({error}), so the processes were ended at once.")
    return status

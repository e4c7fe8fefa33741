"""Record a run, start it, and say how to follow it: the same for every tool that starts a run of its own kind."""

from ...runs.engine import start_run
from ...runs.evidence import verdict
from ...runs.layout import StateDir
from ...runs.store import record_run
from ...schemas.records import RunRecord
from ...schemas.run_list import RunStarted
from ...settings import Settings
from .training import FIRST_LOOK_S, follow


def start_recorded(record: RunRecord, targets: list[str], settings: Settings) -> RunStarted:
    """Start the run, or find the one that the same request started a moment ago.

    Raises:
        RunError: another run writes one of the targets, or it cannot be started.
    """
    run, new = record_run(StateDir.of(settings), record, targets, repeat_window_s=settings.repeat_window_s)
    if new:
        start_run(run, record, settings)
    return RunStarted(
        run_id=run.run_id,
        status=verdict(run, run.record() or record).status,
        notes=record.notes,
        retry_after_s=FIRST_LOOK_S,
        next_step=follow(run.run_id),
    )

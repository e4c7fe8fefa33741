"""nnunet_runs and nnunet_cancel: what was started here, and how to stop it."""

from datetime import UTC, datetime
from itertools import islice

from ...calls import argument, call
from ...runs import store
from ...runs.by_hand import ExternalTraining, external_trainings
from ...runs.cancel import await_end, request_cancel
from ...runs.layout import RunDir, StateDir
from ...runs.result import stage_outcome
from ...runs.store import find_run, newest_runs
from ...schemas.model_name import ModelName
from ...schemas.outcomes import MeasuredOutcome
from ...schemas.records import ACTIVE, RunRecord
from ...schemas.run_list import CancelAnswer, CancelRequest, RunLine, RunsAnswer, RunsRequest
from ...settings import Settings
from ...texts import fold_name
from .resuming import resume_hint, saved
from .snapshot import RunSnapshot, newest, recorded, snapshot
from .timing import grace, retry_after

# A training by hand says nothing of its speed.
BY_HAND_S = 60
# A kill takes less than a second, where the disk or the driver does not hold a process.
KILLED_WITHIN_S = 20.0


def nnunet_runs(request: RunsRequest, settings: Settings, known: RunSnapshot | None = None) -> RunsAnswer:
    """List runs, newest first; without a status only as many directories are read as are shown.

    Among them are the trainings that somebody started by hand, by when they last wrote. A run that the same answer
    has read already (`known`) is not read again.
    """
    folders = recorded(settings, request.dataset_id)
    runs = (one for one in newest(folders, settings, known) if request.status in (None, one.judged.status))
    first = list(islice(runs, request.limit))
    total = len(first) + sum(1 for _ in (folders if request.status is None else runs))
    lines = [(_line(one), max(1, retry_after(one)) if one.judged.status in ACTIVE else 0) for one in first]
    asked_for = "" if request.dataset_id is None else f"{request.dataset_id:03d}-"
    for other in external_trainings(settings.folder("results")):
        if other.run_id[1:].startswith(asked_for) and request.status in (None, other.status):
            total += 1
            lines.append((_external_line(other), BY_HAND_S if other.status in ACTIVE else 0))
    shown = sorted(lines, key=lambda line: line[0].started, reverse=True)[: request.limit]
    return RunsAnswer(
        runs=tuple(line for line, _ in shown),
        shown=len(shown),
        total=total,
        retry_after_s=min((again for _, again in shown if again), default=0),
        next_step=_next_step([line for line, _ in shown]),
    )


def _external_line(found: ExternalTraining) -> RunLine:
    model = found.path.parent
    losses = ", ".join(f"{name} {value:.4f}" for name, value in found.losses.items())
    return RunLine(
        run_id=found.run_id,
        status=found.status,
        external=True,
        dataset=model.parent.name,
        configuration=ModelName.parse(model.name).configuration,
        fold=fold_name(found.path.name.removeprefix("fold_")),
        started=iso(found.started),
        stage=None,
        epoch=None if found.epoch is None else str(found.epoch),
        dice=None,
        detail=f"started by hand; {found.path}" + (f"; {losses}" if losses else ""),
    )


def iso(seconds: float) -> str:
    """Seconds since the epoch as people write a time: UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _next_step(lines: list[RunLine]) -> str:
    if not lines:
        return f"No runs. Ask whether to start one: {call('nnunet_training')}."
    return (
        f"Look at one with {call('nnunet_progress')} or {call('nnunet_results')}, e.g. "
        f"{argument(run_id=lines[0].run_id)}."
    )


def _line(view: RunSnapshot) -> RunLine:
    record, judged, spec = view.record, view.judged, view.present
    return RunLine(
        run_id=record.run_id,
        status=judged.status,
        dataset=record.dataset_name,
        configuration=record.job.configuration,
        fold=record.fold_or_kind,
        started=iso(record.created_at),
        stage=spec.name if spec and judged.status != "success" else None,
        epoch=_epoch(view, spec.name) if spec else None,
        dice=_dice(view.run, record) if judged.status == "success" else None,
        detail="stopping" if view.stopping else "; ".join(filter(None, (judged.reason, saved(view)))),
    )


def _epoch(view: RunSnapshot, stage: str) -> str | None:
    """Of a run at rest only the last epoch is read."""
    folder = view.run.stage(stage)
    recent = view.moment.epochs if view.judged.status in ACTIVE else folder.recent_epochs(1)
    if not recent:
        return None
    last, progress = recent[-1], folder.progress()
    return f"{last.epoch + 1}/{progress.epochs}" if progress and progress.epochs else str(last.epoch + 1)


def _dice(run: RunDir, record: RunRecord) -> float | None:
    outcome = stage_outcome(run, record, record.stages[-1])
    metrics = outcome.metrics if isinstance(outcome, MeasuredOutcome) else None
    return round(metrics.dice, 4) if metrics and metrics.dice is not None else None


def nnunet_cancel(request: CancelRequest, settings: Settings) -> CancelAnswer:
    """Stop a run; calling it twice is fine.

    Raises:
        NotFound: no such run.
        Unavailable: the wish cannot be written down, and the run cannot be ended from here.
    """
    run, record = find_run(StateDir.of(settings), request.run_id)
    seconds = 0.0 if request.force else grace(snapshot(settings, request.run_id))
    remarks: list[str] = []
    status = request_cancel(run, record, grace_s=seconds, say=remarks.append)
    if status in ACTIVE and (wait_s := KILLED_WITHIN_S if request.force else request.wait_s):
        status = await_end(run, record, seconds=wait_s)
    view = snapshot(settings, record.run_id)
    return CancelAnswer(
        run_id=record.run_id,
        status=view.judged.status,
        detail=" ".join([*remarks, _cancel_detail(view, seconds)]),
        retry_after_s=retry_after(view),
        next_step=_after_cancel(view),
    )


def _cancel_detail(view: RunSnapshot, seconds: float) -> str:
    status = view.judged.status
    if status not in ACTIVE:
        return f"The run is {status}. None of its processes is left."
    if seconds == 0:
        return f"The run is being ended; after {KILLED_WITHIN_S:.0f} s some of it is still there."
    return (
        f"Stopping: it finishes its epoch and saves a checkpoint, for which it has {seconds:.0f} s; then it is ended."
        if view.trains
        else f"Stopping: it has {seconds:.0f} s, then it is ended."
    )


def _after_cancel(view: RunSnapshot) -> str:
    status, run_id = view.judged.status, view.record.run_id
    if status in ACTIVE:
        return f"{call('nnunet_progress', run_id=run_id, until='end')} waits for its end and names what was saved."
    return (
        f"To go on later: {resume_hint(view)}." if status in ("cancelled", "interrupted") else "Nothing is left to do."
    )


def forget(settings: Settings, *, older_than_s: float) -> list[str]:
    """Remove the records of runs that are at rest and were recorded longer ago; returns their ids."""
    return store.forget(StateDir.of(settings), older_than_s=older_than_s)


def newest_run_ids(settings: Settings, *, limit: int) -> list[str]:
    """The newest runs by id; nothing is read."""
    return [run.run_id for run in newest_runs(StateDir.of(settings), limit=limit)]

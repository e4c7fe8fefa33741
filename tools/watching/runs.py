"""nnunet_runs, nnunet_queue and nnunet_cancel: what was started here, in which order, and how to stop it."""

import time
from collections.abc import Iterator
from itertools import islice

from ...calls import argument, call
from ...errors import Refused
from ...runs import store
from ...runs.by_hand import external_trainings
from ...runs.cancel import await_end, request_cancel
from ...runs.layout import RunDir, StateDir
from ...runs.store import find_run
from ...schemas.records import ACTIVE, QueueAction, RunRecord
from ...schemas.run_list import CancelAnswer, CancelRequest, QueueAnswer, QueueRequest, RunLine, RunsAnswer, RunsRequest
from ...settings import Settings
from ...texts import some
from .resuming import after_failure, resume_hint
from .run_lines import line_of, line_of_foreign
from .snapshot import RunSnapshot, newest, recorded, snapshot, tend
from .timing import grace, retry_after

# A training by hand says nothing of its speed.
BY_HAND_S = 60
BY_HAND = "Trainings by hand (nnUNetv2_train) are looked for in {folder}."
# A kill takes less than a second, where the disk or the driver does not hold a process.
KILLED_WITHIN_S = 20.0
# A supervisor looks every 0.2 s; of one on another host the disk tells later.
OBEYED_WITHIN_S = 3.0
POLL_S = 0.1


def nnunet_runs(request: RunsRequest, settings: Settings, known: RunSnapshot | None = None) -> RunsAnswer:
    """List runs, newest first; without a status only as many directories are read as are shown.

    Among them are the trainings that somebody started by hand, by when they last wrote. A run that the same answer
    has read already (`known`) is not read again.
    """
    run_ids = recorded(settings, request.dataset_id)
    reached: dict[str, bool] = {}
    views = newest(
        _noted(run_ids, reached), settings, known, lambda run, record: _wanted(run, record, request, reached)
    )
    first = list(islice((one for one in views if request.status in (None, one.judged.status)), request.limit))
    every = request.status is None and request.search is None
    rest = run_ids if every else (one for one in views if request.status in (None, one.judged.status))
    total = len(first) + sum(1 for _ in rest)
    lines = [(line_of(one, first), max(1, retry_after(one)) if one.judged.status in ACTIVE else 0) for one in first]
    asked_for = "" if request.dataset_id is None else f"{request.dataset_id:03d}-"
    results = settings.folder("results")
    for other in external_trainings(results):
        says = _says(request.search, other.run_id, *other.path.parts[-3:])
        if says and other.run_id[1:].startswith(asked_for) and request.status in (None, other.status):
            total += 1
            lines.append((line_of_foreign(other), BY_HAND_S if other.status in ACTIVE else 0))
    shown = sorted(lines, key=lambda line: line[0].started, reverse=True)[: request.limit]
    return RunsAnswer(
        runs=tuple(line for line, _ in shown),
        shown=len(shown),
        total=total,
        notes=(*_left_out(reached, total - len(shown)), BY_HAND.format(folder=results)),
        retry_after_s=min((again for _, again in shown if again), default=0),
        next_step=_next_step([line for line, _ in shown], request),
    )


def _noted(run_ids: Iterator[str], reached: dict[str, bool]) -> Iterator[str]:
    for run_id in run_ids:
        reached[run_id] = False
        yield run_id


def _wanted(run: RunDir, record: RunRecord, request: RunsRequest, reached: dict[str, bool]) -> bool:
    """Whether the list asks for a run whose record could be read."""
    reached[run.run_id] = True
    names = (record.run_id, record.dataset_name, record.trainer, record.plans_identifier)
    return _says(request.search, record.note or "", *names)


def _says(wanted: str | None, *texts: str) -> bool:
    """Whether one of the texts has the wanted one in it, whatever the case."""
    return wanted is None or any(wanted.strip().casefold() in text.casefold() for text in texts)


def _left_out(reached: dict[str, bool], older: int) -> Iterator[str]:
    """Which runs the list does not have, and why."""
    if unread := [run_id for run_id, read in reached.items() if not read]:
        yield f"Left out, because run.json cannot be read: {some(unread)}."
    if older:
        yield f"{older} older runs are left out: {argument(limit=None)} shows more."


def _next_step(lines: list[RunLine], request: RunsRequest) -> str:
    if ours := [line for line in lines if not line.external]:
        newest = ours[0].run_id
        return f"Look at one: {call('nnunet_progress', run_id=newest)} or {call('nnunet_results', run_id=newest)}."
    if lines:
        return "These were started by hand; their folders have the logs."
    asked = request.model_dump(exclude_none=True, exclude={"limit"})
    if asked:
        return f"No run matches {argument(**asked)}; {call('nnunet_runs')} without it lists all."
    return f"No runs yet. Ask the person whether to start one: {call('nnunet_training')}."


def nnunet_queue(request: QueueRequest, settings: Settings) -> QueueAnswer:
    """Change the place of a run that waits; the same call twice is fine.

    Raises:
        NotFound: no such run.
        Refused: nothing of it waits, or the cluster does not allow it.
        Unavailable: the cluster does not answer.
    """
    view = tend(settings, request.run_id)
    _refuse_without_a_place(view)
    view.move(request.action)
    view = _obeyed(request, settings)
    return QueueAnswer(
        run_id=request.run_id,
        status=view.judged.status,
        detail=_detail(view, request.action),
        retry_after_s=retry_after(view),
        next_step=_on_with(view),
    )


def _refuse_without_a_place(view: RunSnapshot) -> None:
    """Refuse where nothing is left that could wait."""
    run_id, status = view.record.run_id, view.judged.status
    if status not in ACTIVE:
        raise Refused(
            f"Run {run_id} is {status}: it waits no more. {call('nnunet_results', run_id=run_id)} has its end."
        )
    if view.stopping is not None:
        raise Refused(f"Run {run_id} was asked to stop, so nothing of it waits any more.")
    if "queued" not in view.judged.stages.values():
        raise Refused(
            f"Everything of run {run_id} has begun, so nothing of it waits. To make room, ask the person whether to "
            f"stop it: {call('nnunet_cancel', run_id=run_id)}; a training can be resumed."
        )


def _obeyed(request: QueueRequest, settings: Settings) -> RunSnapshot:
    """The run as soon as it is seen to be held, or to be so no more."""
    deadline = time.monotonic() + OBEYED_WITHIN_S
    while True:
        view = snapshot(settings, request.run_id)
        ended = view.judged.status not in ACTIVE
        if ended or request.action == "front" or view.is_held == (request.action == "hold"):
            return view
        if time.monotonic() > deadline:
            return view
        time.sleep(POLL_S)


def _on_with(view: RunSnapshot) -> str:
    run_id = view.record.run_id
    if view.is_held:
        return f"When the person says so: {call('nnunet_queue', run_id=run_id, action='release')}."
    return f"Follow it with {call('nnunet_progress', run_id=run_id, wait_s=25)}."


def _detail(view: RunSnapshot, action: QueueAction) -> str:
    if action == "front":
        told = view.in_front
    elif view.is_held != (action == "hold"):
        told = f"It was asked to {action}, which does not show yet."
    elif action == "hold":
        told = "Held: nothing more of it starts until it is released."
    else:
        told = "Released: it waits for its place as before."
    if view.judged.status == "running":
        return f"{told} A stage of it has begun, and goes on."
    return f"{told} Now: {view.judged.reason}."


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
        detail=" ".join([*remarks, _cancel_detail(view, seconds, request)]),
        retry_after_s=retry_after(view),
        next_step=_after_cancel(view),
    )


def _cancel_detail(view: RunSnapshot, seconds: float, request: CancelRequest) -> str:
    status = view.judged.status
    if status not in ACTIVE:
        return f"{_ended(view)} None of its processes is left."
    if request.force:
        return f"The run is being ended; after {KILLED_WITHIN_S:.0f} s some of it is still there."
    within = f"it has {seconds:.0f} s, then it is ended"
    if not view.trains:
        return f"Stopping: {within}."
    if not view.moment.epochs:
        return f"Stopping: its first epoch is saved if it ends in time; {within}."
    return f"Stopping: it finishes its epoch and saves a checkpoint; {within}."


def _ended(view: RunSnapshot) -> str:
    failure = view.judged.failure
    if view.judged.status == "error":
        return f"It had already ended by itself: {failure.cause}." if failure else "It had already failed by itself."
    return "It had already succeeded." if view.judged.status == "success" else f"The run is {view.judged.status}."


def _after_cancel(view: RunSnapshot) -> str:
    status, run_id = view.judged.status, view.record.run_id
    if status in ACTIVE:
        return f"{call('nnunet_progress', run_id=run_id, until='end')} waits for its end and names what was saved."
    if status == "error":
        return f"It failed: {after_failure(view.judged.failure, view)}."
    if status == "success":
        return "Nothing is left to do."
    return f"It has ended. {resume_hint(view)}."


def forget(settings: Settings, *, older_than_s: float) -> list[str]:
    """Remove the records of runs that are at rest and were recorded longer ago; returns their ids."""
    return store.forget(StateDir.of(settings), older_than_s=older_than_s)


def newest_run_ids(settings: Settings, *, limit: int) -> list[str]:
    """The newest runs by id; nothing is read."""
    return store.newest_ids(StateDir.of(settings))[:limit]

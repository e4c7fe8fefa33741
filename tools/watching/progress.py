"""nnunet_progress: where a run stands, how long it will take, how it feels, in 1,200 characters."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from ...calls import call
from ...runs.result import stage_outcome
from ...schemas.outcomes import MeasuredOutcome
from ...schemas.progress import Health, ProgressAnswer, ProgressRequest, Until
from ...schemas.records import ACTIVE, Failure, Progress
from ...settings import Settings
from ...texts import short_in_json
from .forecast import forecast
from .health import advice, health, wait_share
from .resuming import after_failure, epochs_behind, resume_hint
from .snapshot import RunSnapshot, snapshot, tend
from .timing import elapsed, end_of, percent, reached, retry_after, stops_within

Look = Callable[[], RunSnapshot]
Say = Callable[[float, str], Awaitable[None]]
POLL_S = 0.5
# As long as a host waits for a tool's answer, with a margin.
LONGEST_WAIT_S = 50.0
SAY_EVERY_S = 5.0
# Together they keep the whole answer under 1,200 characters.
CAUSE_CHARACTERS, EVIDENCE_CHARACTERS = 160, 120
REMEDY_CHARACTERS = 220
PHASE_CHARACTERS = 60
HEALTH_CHARACTERS = 220


async def nnunet_progress(
    request: ProgressRequest, settings: Settings, say: Say | None = None, *, read_only: bool = False
) -> ProgressAnswer:
    """The run's state, at once or as soon as something changes, or what was waited for is there, within wait_s.

    Raises:
        NotFound: no such run.
    """
    again = partial(snapshot if read_only else tend, settings, request.run_id)
    wait_s = request.wait_s if request.until is None else request.wait_s or LONGEST_WAIT_S
    view = await anyio.to_thread.run_sync(again)
    return answer(await wait_for_news(view, again, wait_s, say, until=request.until), request.until)


async def wait_for_news(
    view: RunSnapshot, again: Look, wait_s: float, say: Say | None = None, *, until: Until | None = None
) -> RunSnapshot:
    """The run as soon as something has changed since `view`, or `until` is reached, or after wait_s."""
    deadline = time.monotonic() + wait_s
    seen, said = view.signature, 0.0

    def has_news() -> bool:
        return view.judged.status not in ACTIVE or (view.signature != seen if until is None else reached(view, until))

    while not has_news() and time.monotonic() < deadline:
        if say is not None and time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            await say(percent(view), headline(view))
        await anyio.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        view = await anyio.to_thread.run_sync(again)
    return view


def answer(view: RunSnapshot, until: Until | None = None) -> ProgressAnswer:
    """The answer about one moment, to somebody who waits for the end or for an epoch."""
    moment = view.moment
    last, epoch_s = moment.epochs[-1] if moment.epochs else None, moment.epoch_s
    failure, well, left = view.judged.failure, health(view), forecast(view)
    again_s = retry_after(view, until, left)
    return ProgressAnswer(
        run_id=view.record.run_id,
        status=view.judged.status,
        stage=view.present.name if view.present else None,
        phase=_phase(view),
        percent=percent(view),
        elapsed_s=elapsed(view),
        eta_s=None if left is None else round(left.left.expected),
        eta=end_of(left),
        epoch=_epoch(view),
        epochs=moment.progress.epochs if moment.progress else None,
        epoch_s=round(epoch_s, 2) if epoch_s is not None else None,
        wait=rounded(wait_share(last) if last else None, 2),
        train_loss=rounded(last.train_loss if last else None),
        val_loss=rounded(last.val_loss if last else None),
        pseudo_dice=rounded(last.pseudo_dice if last else None),
        learning_rate=float(f"{last.learning_rate:.4g}") if last and last.learning_rate is not None else None,
        dice=dice_of(view),
        health=Health(verdict=well.verdict, detail=short_in_json(well.detail, HEALTH_CHARACTERS)),
        failure=_brief(failure) if failure else None,
        retry_after_s=again_s,
        next_step=_next_step(view, well, again_s),
    )


def _epoch(view: RunSnapshot) -> int | None:
    """Epochs done of the present training; one that goes on has those that are saved behind it from the beginning."""
    moment = view.moment
    if moment.epochs or not view.trains or moment.progress is None:
        return moment.epochs_done or None
    return epochs_behind(view)


def _brief(failure: Failure) -> Failure:
    """The failure within the answer's budget; nnunet_results has all of it."""
    return Failure(
        cause=short_in_json(failure.cause, CAUSE_CHARACTERS),
        evidence=short_in_json(failure.evidence, EVIDENCE_CHARACTERS),
        remedy=short_in_json(failure.remedy, REMEDY_CHARACTERS),
        resume=failure.resume,
    )


def _phase(view: RunSnapshot) -> str | None:
    if view.judged.status not in ACTIVE:
        return None
    progress = view.moment.progress
    doing = None if progress is None else _doing(progress)
    if (seconds := stops_within(view)) is None:
        return doing
    within = f"stopping, within {seconds:.0f} s" if seconds else "stopping"
    return f"{within}: {doing}" if doing else within


def _doing(progress: Progress) -> str:
    if progress.waits_for and progress.phase == "waiting":
        return f"waiting: {short_in_json(progress.waits_for, PHASE_CHARACTERS)}"
    return f"{progress.phase} {progress.done or 0}/{progress.total}" if progress.total is not None else progress.phase


def dice_of(view: RunSnapshot) -> float | None:
    """The mean Dice of a run that has succeeded, as nnU-Net measured it."""
    if view.judged.status != "success":
        return None
    outcome = stage_outcome(view.run, view.record, view.record.stages[-1])
    return rounded(outcome.metrics.dice) if isinstance(outcome, MeasuredOutcome) and outcome.metrics else None


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A number as answers tell it: four digits behind the point, five in all of one that is large."""
    if value is None or abs(value) < 1:
        return None if value is None else round(value, digits)
    return float(f"{value:.5g}")


def headline(view: RunSnapshot) -> str:
    """The run in one line."""
    if view.stopping is not None:
        return f"{view.judged.status}: {_phase(view)}"
    if view.judged.status == "queued":
        return f"queued: {view.judged.reason}"
    stage = view.present.name if view.present else "done"
    total = view.moment.progress.epochs if view.moment.progress else None
    epoch = f", epoch {view.moment.epochs_done}/{total}" if total else ""
    return f"{view.judged.status}: {stage}{epoch}, {_phase(view) or 'at rest'}"


def _next_step(view: RunSnapshot, well: Health, again_s: int) -> str:
    run_id, status = view.record.run_id, view.judged.status
    to_the_end = call("nnunet_progress", run_id=run_id, until="end")
    if view.stopping is not None:
        return f"Asked to stop, but still at work: {to_the_end} waits for its end."
    if said := advice(well, run_id, live=status in ACTIVE):
        return said
    if status in ("cancelled", "interrupted"):
        return f"{status.capitalize()}. {resume_hint(view)}."
    return {
        "queued": _while_queued(view, again_s),
        "running": f"Still running. In {again_s} s: {to_the_end}",
        "success": f"Done: {call('nnunet_results', run_id=run_id)}.",
        "error": f"Failed: {after_failure(view.judged.failure, view)}.",
    }[status]


def _while_queued(view: RunSnapshot, again_s: int) -> str:
    """What to do about a run that waits; those in front of it may be passed if a person says so."""
    run_id = view.record.run_id
    if view.is_held:
        return f"Ask the person whether to release it: {call('nnunet_queue', run_id=run_id, action='release')}."
    wait = f"In {again_s} s: {call('nnunet_progress', run_id=run_id, wait_s=25)}"
    front = call("nnunet_queue", run_id=run_id, action="front")
    urgent = f"If it is urgent, ask the person whether to let it go first: {front}. Else wait. {wait}"
    return urgent if view.is_behind else f"It waits. {wait}"

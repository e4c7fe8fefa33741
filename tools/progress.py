"""nnunet_progress: where a run stands, how long it will take, how it feels, in 1,200 characters."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from ..runs.engine import go_on_starting
from ..runs.layout import RunDir, StateDir
from ..runs.look import verdict
from ..runs.settings import Settings
from ..runs.status import Verdict
from ..runs.store import find_run
from ..runs.texts import short
from ..schemas.answers import Health, ProgressAnswer
from ..schemas.requests import ProgressRequest
from ..schemas.runs import ACTIVE, ESTIMATING, TRAINING, Epoch, Failure, Progress, RunRecord, StageSpec, Status
from .health import LOOKED_AT, judge
from .resuming import resume_hint

Say = Callable[[float, str], Awaitable[None]]
POLL_S = 0.5
SAY_EVERY_S = 5.0
# Together they keep the whole answer under 1,200 characters.
DETAIL_CHARACTERS = 160
REMEDY_CHARACTERS = 240
# Rough shares of a run's time, for the percentage only; the ETA is measured.
WEIGHTS = {"preprocess": 0.1, "train": 1.0, "validate": 0.2, "cross_validation": 0.05, "predict": 1.0}
WEIGHTS |= {"combine": 0.2, "find_best": 1.0, "export": 1.0, "import_model": 1.0}
VALIDATION_SHARE = 0.05


@dataclass(frozen=True)
class View:
    """A run at one moment."""

    run: RunDir
    record: RunRecord
    judged: Verdict
    spec: StageSpec | None
    progress: Progress | None
    epochs: list[Epoch]  # the recent ones

    @property
    def epochs_done(self) -> int:
        return self.epochs[-1].epoch + 1 if self.epochs else 0

    @property
    def signature(self) -> tuple[object, ...]:
        """What is worth telling when it changes."""
        stage = self.spec.name if self.spec else None
        phase = self.progress.phase if self.progress else None
        within_an_epoch = phase in (TRAINING, ESTIMATING)
        return (self.judged.status, stage, self.epochs_done, None if within_an_epoch else phase)


def look(settings: Settings, run_id: str) -> View:
    """Read a run.

    Raises:
        NotFound: no such run.
    """
    run, record = find_run(StateDir(settings.state_dir), run_id)
    go_on_starting(run, record, settings)
    judged = verdict(run, record)
    spec = present_stage(record, judged)
    stage = run.stage(spec.name) if spec else None
    return View(
        run, record, judged, spec, stage.progress() if stage else None, stage.recent_epochs(LOOKED_AT) if stage else []
    )


def present_stage(record: RunRecord, judged: Verdict) -> StageSpec | None:
    """The stage to look at: the one that failed or runs, else the next one, else the last one."""
    for wanted in ("error", "running", "interrupted", "cancelled", "queued"):
        for spec in record.stages:
            if judged.stages[spec.name] == wanted and not spec.reused:
                return spec
    done = [spec for spec in record.stages if not spec.reused and spec.kind in ("train", "validate")]
    return done[-1] if done else None


async def nnunet_progress(request: ProgressRequest, settings: Settings, say: Say | None = None) -> ProgressAnswer:
    """The run's state, at once or as soon as something changes within wait_s.

    Raises:
        NotFound: no such run.
    """
    view = await anyio.to_thread.run_sync(look, settings, request.run_id)
    return answer(await wait_for_news(view, settings, request.wait_s, say))


async def wait_for_news(view: View, settings: Settings, wait_s: float, say: Say | None = None) -> View:
    """The run as soon as something has changed since `view`, or after wait_s."""
    deadline = time.monotonic() + wait_s
    seen, said = view.signature, 0.0
    while view.judged.status in ACTIVE and view.signature == seen and time.monotonic() < deadline:
        if say is not None and time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            await say(percent(view), headline(view))
        await anyio.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        view = await anyio.to_thread.run_sync(look, settings, view.record.run_id)
    return view


def answer(view: View) -> ProgressAnswer:
    """The answer about one moment."""
    last = view.epochs[-1] if view.epochs else None
    epoch_s = _epoch_seconds(view.epochs)
    failure = view.judged.failure
    return ProgressAnswer(
        run_id=view.record.run_id,
        status=view.judged.status,
        stage=view.spec.name if view.spec else None,
        phase=_phase(view),
        percent=percent(view),
        elapsed_s=_elapsed(view),
        eta_s=_eta(view, epoch_s),
        epoch=view.epochs_done if view.epochs or _trains(view) else None,
        epochs=view.progress.epochs if view.progress else None,
        epoch_s=round(epoch_s, 2) if epoch_s is not None else None,
        train_loss=_rounded(last.train_loss if last else None),
        val_loss=_rounded(last.val_loss if last else None),
        pseudo_dice=_rounded(last.pseudo_dice if last else None),
        learning_rate=_rounded(last.learning_rate if last else None, 6),
        health=_health(view),
        failure=_brief(failure) if failure else None,
        retry_after_s=_retry_after(view, epoch_s),
        next_step=_next_step(view),
    )


def _brief(failure: Failure) -> Failure:
    """The failure within the answer's budget; nnunet_results has all of it."""
    return Failure(
        cause=short(failure.cause, DETAIL_CHARACTERS),
        evidence=short(failure.evidence, DETAIL_CHARACTERS),
        remedy=short(failure.remedy, REMEDY_CHARACTERS),
    )


def _health(view: View) -> Health:
    if view.judged.status != "running":
        found = judge(view.epochs, None)
        reason = "see failure" if view.judged.failure else view.judged.reason
        return Health(verdict=found.verdict, detail=short(reason or found.detail, DETAIL_CHARACTERS))
    found = judge(view.epochs, view.progress)
    if view.record.engine == "slurm" and view.judged.reason:  # what Slurm cannot be asked about now
        return Health(verdict=found.verdict, detail=short(view.judged.reason, DETAIL_CHARACTERS))
    if view.spec is not None and view.spec.kind != "train" and found.verdict == "starting":
        return Health(verdict="ok", detail=f"{view.spec.name} is working.")
    return found


def _phase(view: View) -> str | None:
    if view.progress is None or view.judged.status not in ACTIVE:
        return None
    progress = view.progress
    if progress.waits_for and progress.phase == "waiting":
        return f"waiting: {progress.waits_for}"
    return f"{progress.phase} {progress.done}/{progress.total}" if progress.total is not None else progress.phase


def _trains(view: View) -> bool:
    return view.spec is not None and view.spec.kind == "train" and view.progress is not None


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _elapsed(view: View) -> int:
    ended = [state.ended_at for s in view.record.stages if (state := view.run.stage(s.name).state()) and state.ended_at]
    end = max(ended) if ended and view.judged.status not in ACTIVE else time.time()
    return max(0, round(end - view.record.created_at))


def _epoch_seconds(epochs: list[Epoch]) -> float | None:
    times = [epoch.seconds for epoch in epochs[-5:] if epoch.seconds is not None]
    return sum(times) / len(times) if times else None


def fraction(view: View, spec: StageSpec, status: Status) -> float:
    """How much of a stage is done, 0-1."""
    if status == "success":
        return 1.0
    if view.spec is None or spec.name != view.spec.name or view.progress is None:
        return 0.0
    progress = view.progress
    part = progress.done / progress.total if progress.done is not None and progress.total else 0.0
    if spec.kind != "train":
        return part
    if progress.phase.startswith("validat"):
        return 1.0 - VALIDATION_SHARE * (1.0 - part)
    epochs = progress.epochs or 0
    return (1.0 - VALIDATION_SHARE) * view.epochs_done / epochs if epochs else 0.0


def percent(view: View) -> float:
    """How much of the run is done, 0-100, by rough shares of its stages."""
    stages = [spec for spec in view.record.stages if not spec.reused]
    whole = sum(WEIGHTS[spec.kind] for spec in stages)
    done = sum(WEIGHTS[s.kind] * fraction(view, s, view.judged.stages[s.name]) for s in stages)
    return round(100 * done / whole, 1) if whole else 100.0


def _eta(view: View, epoch_s: float | None) -> int | None:
    """Training time left in all stages at this stage's speed, without the final validations."""
    if view.judged.status != "running" or epoch_s is None or view.progress is None or not view.progress.epochs:
        return None
    left = view.progress.epochs - view.epochs_done
    waiting = [s for s in view.record.stages if s.kind == "train" and view.judged.stages[s.name] == "queued"]
    return max(0, round(epoch_s * (left + view.progress.epochs * len(waiting))))


def _retry_after(view: View, epoch_s: float | None) -> int:
    """A good time to ask again: about one epoch, between 5 s and 5 min; 0 when nothing will change."""
    if view.judged.status not in ACTIVE:
        return 0
    return round(min(300.0, max(5.0, epoch_s or 5.0)))


def headline(view: View) -> str:
    """The run in one line."""
    if view.judged.status == "queued":
        return f"queued: {view.judged.reason}"
    stage = view.spec.name if view.spec else "done"
    total = view.progress.epochs if view.progress else None
    epoch = f", epoch {view.epochs_done}/{total}" if total else ""
    return f"{view.judged.status}: {stage}{epoch}, {_phase(view) or 'at rest'}"


def _next_step(view: View) -> str:
    run_id = view.record.run_id
    status = view.judged.status
    if status in ("cancelled", "interrupted"):
        return f"{status.capitalize()}; {resume_hint(view.record)}."
    return {
        "queued": f"Wait: nnunet_progress(run_id='{run_id}', wait_s=25).",
        "running": f"Still running: nnunet_progress(run_id='{run_id}', wait_s=25) after retry_after_s.",
        "success": f"Done: nnunet_results(run_id='{run_id}').",
        "error": f"Do what failure.remedy says; nnunet_logs(run_id='{run_id}') shows more.",
    }[status]

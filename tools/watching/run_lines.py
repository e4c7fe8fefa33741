"""A run as one line of a list: ours, or one that somebody started by hand."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from ...nnunet.datasets import DEFAULT_PLANS
from ...runs.by_hand import ExternalTraining
from ...schemas.jobs import BEST, FILES
from ...schemas.model_name import ModelName
from ...schemas.progress import Health
from ...schemas.records import ACTIVE, Epoch
from ...schemas.run_list import RunLine
from ...texts import NOTE_LENGTH, fold_name, short
from .health import health
from .progress import answer, dice_of, rounded
from .resuming import saved
from .snapshot import KEPT, RunSnapshot
from .timing import elapsed

PROBLEM_CHARACTERS = 160
NO_PROBLEM = ("ok", "starting", "waiting", "ended")
LOSSES = ("train_loss", "val_loss", "pseudo_dice")


def line_of(view: RunSnapshot, listed: Sequence[RunSnapshot]) -> RunLine:
    """One of our runs; what it continues is looked for among the listed ones."""
    line = KEPT.once(view, _line)
    return line if (earlier := _continues(view, listed)) is None else line.model_copy(update={"continues": earlier})


def _line(view: RunSnapshot) -> RunLine:
    record, judged, spec = view.record, view.judged, view.present
    now = answer(view) if judged.status in ACTIVE else None
    well = now.health if now else health(view)  # it reads more epochs than the line, so it comes first
    last = _last(view)
    return RunLine(
        run_id=record.run_id,
        status=judged.status,
        dataset=record.dataset_name,
        configuration=None if record.job.configuration in (BEST, FILES) else record.job.configuration,
        fold=record.fold,
        kind=None if record.training else record.job.kind,
        trainer=record.trainer if record.training else None,
        plans=record.plans_identifier if record.training and record.plans_identifier != DEFAULT_PLANS else None,
        note=short(record.note, NOTE_LENGTH) if record.note else None,
        started=iso(record.created_at),
        ended=None if now else iso(record.created_at + elapsed(view)),
        stage=spec.name if spec and judged.status != "success" else None,
        epoch=_epoch(view, spec.name, last) if spec and last else None,
        **(losses({name: getattr(last, name) for name in LOSSES}) if last else {}),
        eta_s=now.eta_s if now else None,
        dice=dice_of(view),
        problem=_problem(view, well),
        detail="stopping" if view.stopping else "; ".join(filter(None, (judged.reason, saved(view)))),
    )


def line_of_foreign(found: ExternalTraining) -> RunLine:
    """One that was started by hand."""
    model = found.path.parent
    name = ModelName.parse(model.name)
    lost = [name for name, value in found.losses.items() if not isfinite(value)]
    return RunLine(
        run_id=found.run_id,
        status=found.status,
        external=True,
        dataset=model.parent.name,
        configuration=name.configuration,
        fold=fold_name(found.path.name.removeprefix("fold_")),
        trainer=name.trainer,
        started=iso(found.started),
        stage=None,
        epoch=None if found.epoch is None else str(found.epoch),
        **losses(found.losses),
        dice=None,
        detail="; ".join(["started by hand", str(found.path), *(f"{name} is not a number" for name in lost)]),
    )


def losses(found: Mapping[str, float | None]) -> dict[str, Any]:
    """The fields of a line for these numbers; one that is not finite is left out, as JSON has none."""
    return {name: rounded(value) for name, value in found.items() if value is not None and isfinite(value)}


def iso(seconds: float) -> str:
    """Seconds since the epoch as people write a time: UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _continues(view: RunSnapshot, listed: Sequence[RunSnapshot]) -> str | None:
    """The run whose training it goes on with, if it resumes a checkpoint."""
    resumed = {(spec.configuration, spec.fold) for spec in view.record.stages if spec.resume}
    if not resumed:
        return None
    names = ("dataset_name", "trainer", "plans_identifier")
    for other in listed:
        same = all(getattr(other.record, name) == getattr(view.record, name) for name in names)
        folds = {(spec.configuration, spec.fold) for spec in other.record.stages}
        if same and folds & resumed and other.record.created_at < view.record.created_at:
            return other.record.run_id
    return "an earlier training"


def _problem(view: RunSnapshot, found: Health) -> str | None:
    """What is wrong in one line."""
    if (failure := view.judged.failure) is not None:
        return short(failure.cause, PROBLEM_CHARACTERS)
    return None if found.verdict in NO_PROBLEM else short(f"{found.verdict}: {found.detail}", PROBLEM_CHARACTERS)


def _last(view: RunSnapshot) -> Epoch | None:
    """The last epoch of the present stage. Of a run at rest only this one is read."""
    if view.judged.status in ACTIVE or view.present is None:
        return view.moment.epochs[-1] if view.moment.epochs else None
    return next(iter(view.run.stage(view.present.name).recent_epochs(1)), None)


def _epoch(view: RunSnapshot, stage: str, last: Epoch) -> str:
    progress = view.run.stage(stage).progress()
    return f"{last.epoch + 1}/{progress.epochs}" if progress and progress.epochs else str(last.epoch + 1)

"""The call that goes on with a run that was stopped."""

from dataclasses import dataclass
from typing import Any

from ...calls import call
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...nnunet.old_models import kept
from ...runs.layout import REMEMBERED_EPOCHS, StateDir
from ...runs.pace import pace
from ...runs.saved import Checkpoint, newest_checkpoint
from ...schemas.records import USUAL_RATE, Failure, RunRecord, StageSpec
from ...texts import fold_name
from .health import HOPELESS, health
from .learning import is_hot
from .snapshot import RunSnapshot

OTHER_KINDS = {
    "predict": f"Ask whether to go on: {call('nnunet_predict')} with the same arguments, without overwrite; cases that "
    "are predicted are kept",
    "evaluate": f"Ask whether to start it again: {call('nnunet_evaluate')}; nothing was written",
    "search": f"Ask whether to start it again: {call('nnunet_find_best_configuration')}; nothing was changed",
    "export": "Look whether the zip is there; then it is whole. If not, ask whether to start it again: "
    f"{call('nnunet_export_model')}, with another output where files beside the zip's place are in the way",
    "import": f"Ask whether to start it again: {call('nnunet_import_model')}; nothing was installed",
}


def resume_hint(view: RunSnapshot, *, resumes: bool = True) -> str:
    """A question to the person: what to call, and what it does; only a training with a sound checkpoint is resumed, and
    none that failed in a way that a resume does not mend.

    `like` repeats neither `overwrite` nor `continue_training` nor `after`, so the call names them.
    """
    record = view.record
    if (training := record.training) is None:
        return OTHER_KINDS.get(record.job.kind, "Ask whether to start it again with the same call")
    same: dict[str, Any] = {"dataset_id": training.dataset_id, "like": record.run_id}
    if view.may_still_follow:
        same["after"] = record.after
    begun = [(spec, found) for spec in _resumable(record) if (found := _to_go_on_from(record, spec))]
    done = [spec for spec, _ in begun if _fold(record, spec).finished()]
    todo = [spec for spec in _resumable(record) if spec not in done]
    unfinished = [(spec, found) for spec, found in begun if spec in todo]
    broken, lost = next(((spec, found) for spec, found in unfinished if not found.sound), (view.present, None))
    hopeless = health(view).verdict in HOPELESS
    in_the_way = unfinished and (lost or hopeless or not resumes)
    overwrites = (training.request.overwrite or in_the_way) and (todo or not done)
    again: dict[str, Any] = {"overwrite": True} if overwrites else {}
    others = ""
    if overwrites and (done or (in_the_way and len(todo) > 1)):  # without it, sound folds would go, too
        bad = broken if broken in todo else todo[0]
        again["fold"] = fold_name(str(bad.fold))
        if len(todo) > 1:
            others = f"; then {call('nnunet_training', **same, continue_training=True)} goes on with the other folds"
    if (lost or hopeless) and view.moment.epochs and is_hot(view.moment.epochs[-1]):
        again["changes"] = [f"initial_lr={USUAL_RATE}"]
    from_one = " from epoch 1" if todo else ""
    kept_folds = "; finished folds are kept" if done else ""
    anew = f"Ask whether to start it again{from_one}: {call('nnunet_training', **same, **again)}{kept_folds}{others}"
    if lost is not None:
        return f"The weights in {lost.path.name} are not numbers (NaN), so there is nothing to resume. {anew}"
    if hopeless:
        return f"More epochs will hardly mend it: remove the cause first. {anew}"
    if not resumes:
        return anew
    if not begun:
        trained = any(view.run.stage(spec.name).recent_epochs(1) for spec in _resumable(record))
        return f"No checkpoint was saved. {anew}" if trained else anew
    way_on = call("nnunet_training", **same, continue_training=True)
    told = _told(view, *unfinished[-1]) if unfinished else "Finished folds are kept"
    return f"Ask whether to resume it: {way_on}{_kept(record)}. {told}"


def resumes_from(view: RunSnapshot) -> list[str]:
    """Of a training that was just told to go on: where each fold does so, and what it repeats."""
    record = view.record
    resumed = [spec for spec in record.stages if spec.resume and not spec.reused]
    found = [(spec, newest_checkpoint(_fold(record, spec))) for spec in resumed]
    return [f"{_told(view, spec, one)}." for spec, one in found if one is not None and one.epochs is not None]


def epochs_behind(view: RunSnapshot) -> int:
    """Epochs that were saved before the present training began; 0 for one that begins anew."""
    if view.present is None or not view.present.resume:
        return 0
    found = newest_checkpoint(_fold(view.record, view.present))
    return found.epochs or 0 if found is not None else 0


def _told(view: RunSnapshot, spec: StageSpec, found: Checkpoint) -> str:
    """Where a resume goes on, what it repeats, and where the checkpoint lies. Epochs are counted from 1."""
    where = f"{_fold(view.record, spec).path.name}/{found.path.name}"
    if found.epochs is None:
        return f"It goes on from {where}, whose epoch is not noted"
    past = _past_of(view, spec)
    if past.planned is not None and found.epochs >= past.planned:
        return f"All {past.planned} epochs are saved in {where}; only the validation is left"
    of = f" of {past.planned}" if past.planned else ""
    left = past.left(found.epochs)
    return f"It goes on at epoch {found.epochs + 1}{of} from {where}{_again(found.epochs, past.done)}{left}"


def _again(saved: int, done: int) -> str:
    if done <= saved:
        return "; no epoch is repeated"
    if done == saved + 1:
        return f"; epoch {done} is trained again"
    return f"; epochs {saved + 1} to {done} are trained again"


@dataclass(frozen=True)
class _Past:
    """What the run that wrote a fold folder last trained in it."""

    done: int
    planned: int | None
    epoch_s: float | None

    def left(self, saved: int) -> str:
        """How long the epochs behind a checkpoint take at the pace of before."""
        if self.planned is None or self.epoch_s is None:
            return ""
        return f"; about {_duration((self.planned - saved) * self.epoch_s)} of epochs are left"


def _past_of(view: RunSnapshot, spec: StageSpec) -> _Past:
    owner = _fold(view.record, spec).owner() or view.record.run_id
    run = view.run if owner == view.record.run_id else StateDir.of(view.settings).run(owner)
    stage = run.stage(spec.name)
    recent, progress = stage.recent_epochs(REMEMBERED_EPOCHS), stage.progress()
    planned = progress.epochs if progress else None
    return _Past(recent[-1].epoch + 1 if recent else 0, planned, pace(recent))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"


def saved(view: RunSnapshot) -> str:
    """Of a stopped training, up to which epoch it is saved, in a few words; empty for every other run."""
    if view.judged.status not in ("cancelled", "interrupted", "error") or view.record.training is None:
        return ""
    found = [one for spec in _resumable(view.record) if (one := _to_go_on_from(view.record, spec))]
    if not found:
        others = (_fold(view.record, spec).owner() for spec in _resumable(view.record))
        other = next((owner for owner in others if owner not in (None, view.record.run_id)), None)
        return f"run {other} has its fold now" if other else "no checkpoint"
    if not found[-1].sound:
        return "the saved weights are NaN"
    return "a checkpoint is saved" if found[-1].epochs is None else f"saved up to epoch {found[-1].epochs}"


def after_failure(failure: Failure | None, view: RunSnapshot) -> str:
    """What to do after a failure, of a training as of everything else."""
    more = f"{call('nnunet_logs', run_id=view.record.run_id)} shows more"
    if failure is None:
        return more
    return f"do what failure.remedy says. Then: {resume_hint(view, resumes=failure.resume).rstrip('.')}. {more}"


def _kept(record: RunRecord) -> str:
    """Where the model is that the training was to replace."""
    files = DatasetFiles(record.folders, record.dataset_name)
    folds = (FoldFiles(files.fold_of(record, spec)) for spec in record.stages if spec.traits.trains)
    names = [old.path.name for fold in folds for old in kept(fold)[:1]]
    return f"; until then the model before is kept in {names[0]}" if names else ""


def _resumable(record: RunRecord) -> list[StageSpec]:
    return [spec for spec in record.stages if spec.traits.goes_on == "checkpoint" and not spec.reused]


def _fold(record: RunRecord, spec: StageSpec) -> FoldFiles:
    return FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, spec))


def _to_go_on_from(record: RunRecord, spec: StageSpec) -> Checkpoint | None:
    """The checkpoint in the fold folder, of this very run or one that the run was to go on from."""
    fold = _fold(record, spec)
    goes_on = record.training is not None and record.training.request.continue_training
    return newest_checkpoint(fold) if fold.owner() == record.run_id or goes_on else None

"""Whose model a fold folder holds now: that of the run, of a later run, or of somebody who trained by hand."""

from collections.abc import Iterator

from ..nnunet.datasets import FoldFiles
from ..nnunet.models import Model, model_of
from ..nnunet.summary import measured_since
from ..schemas.records import RunRecord, StageSpec
from .layout import RunDir, StateDir
from .store import RUN_ID, newest_runs

BY_HAND = "by hand"


def taken_over(state: StateDir, record: RunRecord) -> dict[str, str]:
    """The folds of the run that now hold another model, with the run that trained it, or BY_HAND."""
    return dict(_taken_over(state, record))


def _taken_over(state: StateDir, record: RunRecord) -> Iterator[tuple[str, str]]:
    model = model_of(record)
    for spec in record.model_stages:
        fold = model.fold(str(spec.fold))
        owner = fold.owner()
        if owner not in (None, record.run_id) and not _is_of(record, spec, state.run(str(owner)).record()):
            yield str(spec.fold), str(owner)
        elif not spec.reused and _trained_by_hand(fold):
            yield str(spec.fold), BY_HAND


def runs_behind(state: StateDir, model: Model) -> list[tuple[RunDir, RunRecord]]:
    """The runs that last wrote the model's folds. What a stranger's folder names is none of them."""
    folds = [model.fold(fold) for fold in model.folds]
    owners = dict.fromkeys(fold.owner() for fold in folds if not _trained_by_hand(fold))
    runs = [state.run(owner) for owner in owners if owner and RUN_ID.fullmatch(owner)]
    read = [(run, record) for run in runs if (record := run.record()) is not None]
    name = (model.files.name, model.name)
    return [(run, record) for run, record in read if (record.dataset_name, record.job.model) == name]


def trained_here(state: StateDir, record: RunRecord, spec: StageSpec) -> bool:
    """Whether a run of this state folder has trained epochs in the fold that a stage of `record` resumes.

    The records of runs decide. The fold folder itself proves nothing, because anybody may have made it.
    """
    names = (record.dataset_name, record.trainer, record.plans_identifier)
    for run in newest_runs(state):
        other = run.record()
        if other is None or (other.dataset_name, other.trainer, other.plans_identifier) != names:
            continue
        if any(_trains(one, spec) and run.stage(one.name).recent_epochs(1) for one in other.stages):
            return True
    return False


def _trained_by_hand(fold: FoldFiles) -> bool:
    noted = fold.outcome()
    return noted is not None and fold.finished() and measured_since(fold, noted)


def _is_of(record: RunRecord, spec: StageSpec, other: RunRecord | None) -> bool:
    """Whether the other run left the model as this run trained or found it."""
    if other is not None and other.created_at > record.created_at:
        return not any(_trains(later, spec) for later in other.stages)
    return spec.reused or spec.traits.only_validates


def _trains(later: StageSpec, spec: StageSpec) -> bool:
    same = (later.configuration, later.fold) == (spec.configuration, spec.fold)
    return same and later.traits.trains and not later.reused


def told_taken_over(fold: str, run_id: str, other: str) -> str:
    """The sentence for a fold that was taken over."""
    name = "The model of every case" if fold == "all" else f"Fold {fold}"
    if other == BY_HAND:
        return f"{name} of run {run_id} was trained or validated by hand since: its summary.json has other numbers."
    return f"{name} of run {run_id} now holds what run {other} trained."

"""The call that goes on with a run that was stopped."""

from ...calls import call
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...nnunet.old_models import kept
from ...schemas.records import Failure, RunRecord, StageSpec

OTHER_KINDS = {
    "predict": f"{call('nnunet_predict')} with the same arguments goes on; cases that are predicted are kept",
    "search": f"{call('nnunet_find_best_configuration')} starts it again; nothing was changed",
    "export": f"{call('nnunet_export_model')} starts it again; no zip was left",
    "import": f"{call('nnunet_import_model')} starts it again; nothing was installed",
}


def resume_hint(record: RunRecord) -> str:
    """What to call, and what it does; only a training that has a checkpoint can be resumed.

    `like` repeats neither `overwrite` nor `continue_training`, so the call names them.
    """
    if (training := record.training) is None:
        return OTHER_KINDS.get(record.job.kind, "the same call starts it again")
    same = {"dataset_id": training.dataset_id, "like": record.run_id}
    begun = [spec for spec in record.stages if spec.traits.goes_on == "checkpoint" and not spec.reused]
    if any(_can_go_on(record, spec) for spec in begun):
        return f"{call('nnunet_training', **same, continue_training=True)} resumes it{_kept(record)}"
    again = {"overwrite": True} if training.request.overwrite else {}
    return f"{call('nnunet_training', **same, **again)} starts it again"


def after_failure(failure: Failure | None, record: RunRecord) -> str:
    """What to do after a failure, of a training as of everything else."""
    way_on = f", then {resume_hint(record)}" if failure is not None and failure.resume else ""
    return f"do what failure.remedy says{way_on}; {call('nnunet_logs', run_id=record.run_id)} shows more"


def _kept(record: RunRecord) -> str:
    """Where the model is that the training was to replace."""
    files = DatasetFiles(record.folders, record.dataset_name)
    folds = (FoldFiles(files.fold_of(record, spec)) for spec in record.stages if spec.traits.trains)
    names = [old.path.name for fold in folds for old in kept(fold)[:1]]
    return f"; until then the model before is kept in {names[0]}" if names else ""


def _can_go_on(record: RunRecord, spec: StageSpec) -> bool:
    """Whether the fold folder has a checkpoint of this very run, or one that the run was to go on from."""
    fold = FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, spec))
    goes_on = record.training is not None and record.training.request.continue_training
    ours = fold.owner() == record.run_id or goes_on
    return ours and bool(fold.checkpoints())

"""The call that goes on with a run that was stopped."""

from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...nnunet.old_models import kept
from ...schemas.records import RunRecord, StageSpec

OTHER_KINDS = {
    "predict": "nnunet_predict with the same arguments goes on; cases that are predicted are kept",
    "search": "nnunet_find_best_configuration starts it again; nothing was changed",
    "export": "nnunet_export_model starts it again; no zip was left",
    "import": "nnunet_import_model starts it again; nothing was installed",
}


def resume_hint(record: RunRecord) -> str:
    """What to call, and what it does; only a training that has a checkpoint can be resumed.

    `like` repeats neither `overwrite` nor `continue_training`, so the call names them.
    """
    if (training := record.training) is None:
        return OTHER_KINDS.get(record.job.kind, "the same call starts it again")
    call = f"nnunet_training(dataset_id={training.dataset_id}, like='{record.run_id}'"
    begun = [spec for spec in record.stages if spec.traits.goes_on == "checkpoint" and not spec.reused]
    if any(_can_go_on(record, spec) for spec in begun):
        return f"{call}, continue_training=true) resumes it{_kept(record)}"
    return f"{call}{', overwrite=true' if training.request.overwrite else ''}) starts it again"


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

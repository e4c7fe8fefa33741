"""The model that a training with `overwrite` replaces: kept beside the fold folder until the new one is ready.

<model folder>/fold_0               the new training
               old_fold_0.<run_id>  what was there before that run
"""

import contextlib
import shutil

from ..schemas.records import RunRecord, StageSpec
from .datasets import DatasetFiles, FoldFiles


def keep(fold: FoldFiles, run_id: str) -> None:
    """Move the old model aside for a new training. What can be neither predicted with nor resumed is deleted."""
    if fold.checkpoints():
        # Not fold_…: nnU-Net's predictor takes each such folder for a fold (2.8.1, predict_from_raw_data.py:172).
        fold.path.rename(fold.path.with_name(f"old_{fold.path.name}.{run_id}"))
    else:
        shutil.rmtree(fold.path, ignore_errors=True)


def kept(fold: FoldFiles) -> list[FoldFiles]:
    """The kept models of a fold: finished models first, then the newest."""
    found = [FoldFiles(path) for path in fold.path.parent.glob(f"old_{fold.path.name}.*")]
    return sorted(found, key=lambda old: (old.final.is_file(), old.path.stat().st_mtime), reverse=True)


def put_back(record: RunRecord, spec: StageSpec) -> None:
    """Put the old model back if the run's training has ended without a checkpoint to resume from."""
    if not spec.traits.trains:
        return
    fold = FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, spec))
    olds = kept(fold)
    if not olds or fold.checkpoints() or (fold.path.exists() and fold.owner() != record.run_id):
        return
    with contextlib.suppress(FileNotFoundError):  # another process has already put it back
        shutil.rmtree(fold.path, ignore_errors=True)
        olds[0].path.rename(fold.path)


def way_back(fold: FoldFiles) -> dict[str, str] | None:
    """The run that moved an old model aside and has saved no checkpoint in its place, and the name of the kept folder;
    None where there is no such run."""
    olds = kept(fold)
    if not olds or fold.checkpoints():
        return None
    run_id = olds[0].path.name.partition(".")[2]
    return {"run_id": run_id, "name": olds[0].path.name}


def remove(fold: FoldFiles) -> None:
    """Delete the old model once the new one is ready."""
    for old in kept(fold):
        shutil.rmtree(old.path, ignore_errors=True)

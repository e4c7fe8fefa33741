"""The last stage of a prediction of several models, or of one that is postprocessed: nnU-Net's own functions."""

import shutil
from pathlib import Path

from ...nnunet.predictions import part_folder
from ...schemas.records import Outcome
from ...texts import some
from ..pool_watch import end_when_a_pool_process_is_killed
from ..predicting.folder import PredictionFolder
from ..stage import Job, StageFailure
from .postprocessing import apply

PROBABILITIES = (".npz", ".pkl")


def carry_out(job: Job) -> Outcome:
    """Put the parts together, postprocess, score."""
    end_when_a_pool_process_is_killed(job.stage)
    folder = PredictionFolder(job)
    folder.prepare()
    folder.refuse_if_nothing_is_left()
    if folder.missing and not folder.asked.parts:
        why = "Start the same request again; what is predicted is kept."
        raise StageFailure("predicted cases are gone", some(folder.missing), why, resume=True)
    if folder.missing:
        combined = _ensemble(folder) if len(folder.asked.parts) > 1 else Path(folder.asked.parts[0])
        job.reporter.stop_here()
        _deliver(folder, combined)
    return folder.finish()


def _ensemble(folder: PredictionFolder) -> Path:
    """The mean of the models' probabilities, as nnUNetv2_ensemble, for the missing cases.

    Source: nnunetv2 2.8.1, ensembling/ensemble.py:48-108: every .npz in the folders is merged.
    """
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.ensembling.ensemble import ensemble_folders

    folder.job.reporter.say("ensembling", total=len(folder.missing))
    for part in map(Path, folder.asked.parts):
        _keep_only(part, set(folder.missing))
    target = part_folder(folder.path, "ensemble")
    shutil.rmtree(target, ignore_errors=True)
    ensemble_folders(list(folder.asked.parts), str(target), folder.asked.npz, default_num_processes)
    return target


def _keep_only(part: Path, cases: set[str]) -> None:
    """Remove cases that are not wanted: an interrupted prediction of other images may have left some."""
    for path in part.glob("*.npz"):
        if path.stem not in cases:
            path.unlink()


def _deliver(folder: PredictionFolder, combined: Path) -> None:
    """Put the segmentations into the output folder, postprocessed or as they are, each file in one step."""
    source = combined
    if folder.steps:
        folder.job.reporter.say("postprocessing", total=len(folder.missing))
        source = part_folder(folder.path, "postprocessed")
        shutil.rmtree(source, ignore_errors=True)
        apply(folder.steps, combined, source, folder.model)
    for case in folder.missing:
        if folder.asked.npz:
            for ending in PROBABILITIES:
                (combined / f"{case}{ending}").replace(folder.path / f"{case}{ending}")
        (source / f"{case}{folder.ending}").replace(folder.path / f"{case}{folder.ending}")

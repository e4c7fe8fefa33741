"""nnunet_results: what nnU-Net measured."""

import json
from pathlib import Path
from typing import Any

from ...calls import call
from ...errors import NotFound
from ...files import read_plain
from ...nnunet.datasets import DatasetFiles
from ...nnunet.splits import complete_folds, is_fixed_set
from ...runs.layout import TARGETS, StateDir
from ...runs.model_owners import taken_over, told_taken_over
from ...runs.result import WORST_CASES, compose_result
from ...runs.store import find_run
from ...schemas.jobs import NO_DATASET
from ...schemas.records import ACTIVE, RunRecord
from ...schemas.results import Result, ResultsRequest
from ...settings import Settings
from .resuming import after_failure, resume_hint
from .snapshot import RunSnapshot, snapshot
from .timing import retry_after


def nnunet_results(request: ResultsRequest, settings: Settings) -> Result:
    """The run's result; before the end its metrics are null and `complete` is false.

    Raises:
        NotFound: no such run.
    """
    view = snapshot(settings, request.run_id)
    result = result_of(view, cases=request.cases)
    # It may still be told, so it is no part of what is kept of the result.
    untold = (f"Not everything was told to others: {found.why}" for found in map(view.run.untold, TARGETS) if found)
    return result.model_copy(update={"notes": (*result.notes, *untold)})


def result_of(view: RunSnapshot, *, cases: int = WORST_CASES) -> Result:
    """What the run has come to."""
    result = compose_result(view.run, view.record, view.judged, cases=cases)
    others = taken_over(StateDir.of(view.settings), view.record).items() if result.complete else ()
    notes = (*result.notes, *(told_taken_over(fold, result.run_id, other) for fold, other in others))
    again = retry_after(view) if result.status in ACTIVE else 0
    update = {
        "notes": notes,
        "cross_validation": _share(result, view.record),
        "retry_after_s": again,
        "next_step": _next_step(result, view),
    }
    return result.model_copy(update=update)


def _share(result: Result, record: RunRecord) -> str | None:
    """How many folds of the dataset's split a finished training has; the model of every case is none of them."""
    if record.training is None or not result.complete or result.fold == "full":
        return None
    files = DatasetFiles(record.folders, record.dataset_name)
    every, fixed = complete_folds(files), is_fixed_set(files)
    share = f"{len(record.model_stages)} of {len(every)} folds"
    return ("a fixed validation set" if len(every) == 1 else f"{share} of a fixed validation set") if fixed else share


def _next_step(result: Result, view: RunSnapshot) -> str:
    record = view.record
    if result.best:
        export = call("nnunet_export_model", dataset_id=result.dataset_id)
        predict = call("nnunet_predict", dataset_id=result.dataset_id, images=None)
        return f"Ask the person whether to predict with it: {predict}; or to write it into a zip for others: {export}."
    if result.archive:
        return f"The zip is {result.archive}. Elsewhere, ask whether to install it: {call('nnunet_import_model')}."
    if result.complete and record.job.kind == "import":
        folder = f"{result.dataset_name}/{Path(str(result.model_path).split(' + ')[-1]).name}"
        return f"Ask the person whether to predict with it: {call('nnunet_predict', model=folder, images=None)}."
    if result.evaluation and result.complete:
        folds = call("nnunet_plot", kind="folds", run_id=result.run_id)
        return f"{result.evaluation}/cases.csv has every case; {folds} draws them."
    if result.predictions:
        return _after_a_prediction(result)
    if result.complete:
        return _after_a_training(result, record)
    if result.status in ACTIVE:
        return f"Not finished: {call('nnunet_progress', run_id=result.run_id, wait_s=25)}."
    if result.status == "error":
        return f"It failed: {after_failure(result.failure, view)}."
    return f"It was stopped: {resume_hint(view)}."


def _after_a_prediction(result: Result) -> str:
    where = f"The predictions are in {result.predictions}.{_where_to_look(result)}"
    if result.metrics.dice is not None:
        return where
    dataset = {"dataset_id": result.dataset_id} if result.dataset_id != NO_DATASET else {}
    measure = call("nnunet_evaluate", predictions=result.predictions, labels=None, **dataset)
    return f"{where} If there are labels of these images, ask the person whether to measure them: {measure}."


def _where_to_look(result: Result) -> str:
    """What to do with the most uncertain cases."""
    if not result.uncertain_cases:
        return ""
    every = call("nnunet_results", run_id=result.run_id, cases=1000)
    return (
        " Look at those in uncertain_cases first, or annotate them next; uncertain is not wrong, and a model can be "
        f"sure and wrong. uncertainty.csv there has every case, and so has {every}."
    )


def _after_a_training(result: Result, record: RunRecord) -> str:
    worst = call("nnunet_plot", kind="overlay", run_id=result.run_id)
    if result.is_doubtful:
        return f"The notes say what is wrong with it; {worst} shows the worst case."
    predict = call("nnunet_predict", run_id=result.run_id, images=None)
    report = call("nnunet_report", run_ids=[result.run_id])
    compare = call("nnunet_compare", dataset_id=result.dataset_id)
    beside = f"; {compare} puts it beside the dataset's other models" if _has_others(record) else ""
    shown = f"{worst} shows the worst case; {report} writes a report on it{beside}."
    return f"{shown} Ask the person whether to segment images with it: {predict}."


def _has_others(record: RunRecord) -> bool:
    """Whether anything else was trained on the dataset."""
    files = DatasetFiles(record.folders, record.dataset_name)
    own = {files.fold_of(record, spec).parent for spec in record.model_stages}
    return any(model not in own for model in files.results.glob("*__*__*"))


def provenance(settings: Settings, run_id: str) -> Any:
    """What repeats a run, as it is written when the run ends.

    Raises:
        NotFound: no such run, or it has not ended.
    """
    run, _ = find_run(StateDir.of(settings), run_id)
    if not run.provenance_file.is_file():
        raise NotFound(f"Run {run_id} has no provenance yet: it is written when the run ends.")
    return json.loads(read_plain(run.provenance_file))

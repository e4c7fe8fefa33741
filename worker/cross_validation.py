"""The cross_validation stage: all folds' validation cases together, by nnU-Net's own accumulation."""

from pathlib import Path

from ..runs.datasets import FoldFiles
from ..runs.files import read_json
from ..runs.result import nan_mean
from ..runs.summary import Summary, fold_outcome
from ..schemas.runs import Outcome
from .stage import Job
from .watch import end_when_a_pool_process_is_killed

FOLDS = (0, 1, 2, 3, 4)


def carry_out(job: Job) -> Outcome:
    """Accumulate the five folds as nnUNetv2_accumulate_crossval_results does."""
    end_when_a_pool_process_is_killed(job.stage)
    job.reporter.say("accumulating the folds")
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.evaluation.accumulate_cv_results import accumulate_cv_results

    record, model = (
        job.record,
        job.files.model(job.record.trainer, job.record.plans_identifier, job.spec.configuration),
    )
    merged = model / f"crossval_results_folds_{'_'.join(map(str, FOLDS))}"
    accumulate_cv_results(str(model), str(merged), FOLDS, default_num_processes, overwrite=True)
    folds = [fold_outcome(FoldFiles(model / f"fold_{fold}")) for fold in FOLDS]
    losses = [f.metrics.validation_loss for f in folds if f is not None and f.metrics is not None]
    known = [loss for loss in losses if loss is not None]
    summary = Summary(merged / "summary.json", _labels(job.files.preprocessed))
    lacking = () if len(known) == len(FOLDS) else ("The validation loss of some folds is not known.",)
    return Outcome(
        ok=True,
        model_path=str(model),
        metrics=summary.metrics(nan_mean(known) if not lacking else None),
        per_class=summary.per_class(),
        cases=summary.cases(),
        notes=(f"Metrics over all cases of {len(FOLDS)} folds of {record.dataset_name}.", *lacking),
    )


def _labels(preprocessed: Path) -> dict[str, object]:
    return dict((read_json(preprocessed / "dataset.json") or {}).get("labels", {}))

"""The cross_validation stage: the validation cases of all folds together, accumulated by nnU-Net's own function."""

from collections.abc import Mapping
from pathlib import Path

from ...calls import argument
from ...nnunet.models import Model, model_of
from ...nnunet.preprocessed import data_folder, preprocessed_cases
from ...nnunet.splits import trained_cases, validated_cases, validated_twice
from ...nnunet.summary import Summary, fold_outcome, labels_in, nan_mean, voxel_mm3
from ...schemas.outcomes import ModelOutcome
from ...texts import some
from ..pool_watch import end_when_a_pool_process_is_killed
from ..stage import Job, StageFailure


def carry_out(job: Job) -> ModelOutcome:
    """Accumulate the folds as nnUNetv2_accumulate_crossval_results does."""
    end_when_a_pool_process_is_killed(job.stage)
    job.reporter.say("accumulating the folds")
    model = model_of(job.record)
    validated = {fold: validated_cases(model.fold(fold)) for fold in model.folds}
    refuse_other_cases(model, validated)
    merged = model.folder / f"crossval_results_folds_{'_'.join(model.folds)}"
    _accumulate(model, merged)
    folds = [fold_outcome(model.fold(fold)) for fold in model.folds]
    losses = [f.metrics.validation_loss for f in folds if f is not None and f.metrics is not None]
    known = [loss for loss in losses if loss is not None]
    summary = Summary(merged / "summary.json", labels_in(job.files.preprocessed))
    lacking = () if len(known) == len(folds) else ("The validation loss of some folds is not known.",)
    return ModelOutcome(
        ok=True,
        model_path=str(model.folder),
        metrics=summary.metrics(nan_mean(known) if not lacking else None),
        per_class=summary.per_class(),
        cases=summary.cases(),
        voxel_mm3=voxel_mm3(job.files),
        notes=(_coverage(job, model, validated), *lacking),
    )


def refuse_other_cases(model: Model, validated: Mapping[str, frozenset[str]]) -> None:
    """Refuse folds that hold out the same case, or that validated other cases than they hold out: they are no
    cross-validation.

    Raises:
        StageFailure: it names the folds and the cases.
    """
    found = [validated_twice(validated)]
    for fold, cases in validated.items():
        own = trained_cases(model.fold(fold))
        if own and (differ := sorted(cases ^ set(own.val))):
            found.append(f"fold {fold} validated other cases than it holds out: {some(differ)} differ")
    if told := "; ".join(filter(None, found)):
        raise StageFailure(
            "the folds' validation cases do not make a cross-validation",
            told,
            f"Validate these folds again with {argument(validation_only=True)} if their cases are right; else train "
            f"them again on one split with {argument(fold='all')}, {argument(overwrite=True)}.",
        )


def _accumulate(model: Model, merged: Path) -> None:
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.evaluation.accumulate_cv_results import accumulate_cv_results

    folds = [int(fold) for fold in model.folds]
    accumulate_cv_results(str(model.folder), str(merged), folds, default_num_processes, overwrite=True)


def _coverage(job: Job, model: Model, validated: Mapping[str, frozenset[str]]) -> str:
    """Which cases the numbers cover."""
    there = frozenset[str]().union(*validated.values())
    plans = job.files.plans(job.record.plans_identifier) or {}
    known = set(preprocessed_cases(data_folder(job.files, plans, job.spec.configuration)))
    if missing := sorted(known - there):
        return (
            f"Metrics over the {len(there)} validation cases of {len(validated)} folds of {job.files.name}. "
            f"{len(missing)} cases are validated by no fold: {some(missing)}."
        )
    return f"Metrics over all {len(there)} cases of {len(validated)} folds of {job.files.name}."

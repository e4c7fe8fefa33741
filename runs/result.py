"""The result of a run, put together from what its stages measured."""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from ..nnunet.datasets import DatasetFiles, FoldFiles
from ..nnunet.summary import fold_outcome, why_dice_is_null
from ..schemas.records import CaseMetrics, Metrics, Outcome, RunRecord, StageSpec
from ..schemas.results import FoldResult, Result
from ..texts import fold_name
from .evidence import verdict
from .layout import RunDir

WORST_CASES = 5


def compose_result(run: RunDir, record: RunRecord) -> Result:
    """What the user's documentation promises, plus folds, classes, worst cases and notes."""
    judged = verdict(run, record)
    wanted = str(record.request.get("fold", ""))
    measured = [(spec, stage_outcome(run, record, spec)) for spec in record.model_stages]
    folds = [_fold_result(spec, fold) for spec, fold in measured]
    summary = stage_outcome(run, record, record.stages[-1])
    complete = judged.status == "success"
    outcome = summary if summary is not None and complete else None
    return Result(
        run_id=record.run_id,
        status=judged.status,
        model_path=outcome.model_path if outcome else None,
        dataset_id=int(record.request["dataset_id"]),
        dataset_name=record.dataset_name,
        configuration=str(record.request["configuration"]),
        fold=wanted,
        metrics=outcome.metrics if outcome and outcome.metrics else Metrics(dice=None, iou=None, validation_loss=None),
        per_class=outcome.per_class if outcome else (),
        folds=tuple(folds),
        dice_mean_sd=mean_sd(fold.dice for fold in folds) if complete else None,
        worst_cases=worst(outcome.cases) if outcome else (),
        complete=complete,
        predictions=outcome.predictions if outcome else None,
        best=outcome.best if outcome else None,
        archive=outcome.archive if outcome else None,
        failure=judged.failure,
        notes=(*record.notes, *(outcome.notes if outcome else ()), *_unknowns(outcome, measured)),
    )


def stage_outcome(run: RunDir, record: RunRecord, spec: StageSpec) -> Outcome | None:
    """What the stage's worker wrote last; for a reused fold, what an earlier run left in its folder."""
    if not spec.reused or spec.fold is None:
        return run.stage(spec.name).outcome()
    files = DatasetFiles(record.folders, record.dataset_name)
    return fold_outcome(FoldFiles(files.fold_of(record, spec)))


def _unknowns(outcome: Outcome | None, folds: Sequence[tuple[StageSpec, Outcome | None]]) -> Iterator[str]:
    """Why a Dice is null although it was measured: of the whole, and of each of several folds."""
    if outcome is not None and (why := _why_null(outcome)):
        yield why
    for spec, fold in folds if len(folds) > 1 else ():
        if fold is not None and (why := _why_null(fold)):
            yield f"Fold {fold_name(spec.fold)}: {why}"


def _why_null(outcome: Outcome) -> str | None:
    if outcome.metrics is None or outcome.metrics.dice is not None:
        return None
    cases = "scored case" if outcome.predictions else "validation case"
    return why_dice_is_null({line.label: line.dice for line in outcome.per_class}, cases)


def _fold_result(spec: StageSpec, outcome: Outcome | None) -> FoldResult:
    metrics = outcome.metrics if outcome and outcome.ok else None
    return FoldResult(
        fold=fold_name(spec.fold),
        dice=metrics.dice if metrics else None,
        iou=metrics.iou if metrics else None,
        validation_loss=metrics.validation_loss if metrics else None,
        cases=len(outcome.cases) if outcome else 0,
        model_path=outcome.model_path if outcome else None,
        reused=spec.reused,
    )


def mean_sd(values: Iterable[float | None]) -> str | None:
    """Mean ± sample standard deviation; null where one is not known or there is only one."""
    given = list(values)
    known = [value for value in given if value is not None]
    if len(known) < 2 or len(known) != len(given):
        return None
    return f"{statistics.fmean(known):.4f} ± {statistics.stdev(known):.4f}"


def worst(cases: Iterable[CaseMetrics]) -> tuple[CaseMetrics, ...]:
    """The cases with the lowest Dice, lowest first."""
    measured = [case for case in cases if case.dice is not None]
    return tuple(sorted(measured, key=lambda case: case.dice or 0.0)[:WORST_CASES])

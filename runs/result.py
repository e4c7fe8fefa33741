"""The result of a run, from the measurements of its stages."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from pydantic import BaseModel

from ..nnunet.datasets import DatasetFiles, FoldFiles
from ..nnunet.summary import fold_outcome, why_dice_is_null
from ..schemas.outcomes import (
    EvaluationOutcome,
    ExportOutcome,
    MeasuredOutcome,
    ModelOutcome,
    PredictionOutcome,
    SearchOutcome,
)
from ..schemas.records import CaseMetrics, CaseUncertainty, Metrics, Outcome, RunRecord, StageSpec
from ..schemas.results import FoldResult, Result
from ..texts import fold_name
from .layout import RunDir
from .remarks import last_pseudo_dice, remarks
from .status import Verdict

WORST_CASES, WORST_OF_A_FOLD = 5, 3
UNCERTAIN_CASES = 10
NOTHING_MEASURED = Metrics(dice=None, iou=None, validation_loss=None)


def compose_result(run: RunDir, record: RunRecord, judged: Verdict, *, cases: int = WORST_CASES) -> Result:
    """What the user's documentation promises, plus folds, classes, so many of the worst cases, and notes."""
    folds = [(spec, model_outcome(run, record, spec)) for spec in record.model_stages]
    trained = [fold for _, fold in folds if fold is not None]
    lines = [_fold_result(spec, fold) for spec, fold in folds]
    summary = stage_outcome(run, record, record.stages[-1])
    complete = judged.status == "success"
    outcome = summary if summary is not None and complete else None
    measured = outcome if isinstance(outcome, MeasuredOutcome) else None
    found = Result(
        run_id=record.run_id,
        status=judged.status,
        note=record.note,
        trainer=record.trainer,
        model_path=outcome.model_path if outcome else None,
        dataset_id=record.job.dataset_id,
        dataset_name=record.dataset_name,
        configuration=record.job.configuration,
        fold=record.fold,
        metrics=(measured.metrics if measured else None) or NOTHING_MEASURED,
        cases=len(measured.cases) or None if measured else None,
        ema_pseudo_dice=last_pseudo_dice(trained) if measured else None,
        epochs=_same([fold.epochs_trained for fold in trained]) if measured else None,
        train_hours=_sum([fold.train_hours for fold in trained]) if measured else None,
        checkpoint=_checkpoint(outcome, trained),
        per_class=measured.per_class if measured else (),
        folds=tuple(lines),
        dice_mean_sd=mean_sd(line.dice for line in lines) if complete else None,
        worst_cases=worst(measured, cases) if measured else (),
        uncertain_cases=_uncertain(outcome, cases),
        complete=complete,
        predictions=outcome.predictions if isinstance(outcome, PredictionOutcome) else None,
        evaluation=outcome.evaluation if isinstance(outcome, EvaluationOutcome) else None,
        surface=outcome.surface if isinstance(outcome, EvaluationOutcome) else None,
        best=outcome.best if isinstance(outcome, SearchOutcome) else None,
        archive=outcome.archive if isinstance(outcome, ExportOutcome) else None,
        failure=judged.failure,
        # A transfer is remarked on before it starts, and again by the training.
        notes=tuple(
            dict.fromkeys(
                (
                    *(remarks(measured, trained) if measured else ()),
                    *record.notes,
                    *(outcome.notes if outcome else _notes_so_far(run, record)),
                    *_unknowns(measured, folds),
                )
            )
        ),
    )
    return cast(Result, _six_decimals(found))


def _notes_so_far(run: RunDir, record: RunRecord) -> Iterator[str]:
    """What the stages of a run without an outcome noted: whether weights were transferred, where it went on."""
    for spec in record.stages:
        yield from run.stage(spec.name).notes()


def _six_decimals(value: Any) -> Any:
    """The numbers without the digits that only a double has, at any depth."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _six_decimals(held) for name, held in value})
    if isinstance(value, dict):
        return {name: _six_decimals(held) for name, held in value.items()}
    return tuple(_six_decimals(held) for held in value) if isinstance(value, tuple) else value


def _same(epochs: Sequence[int | None]) -> int | None:
    return epochs[0] if len(set(epochs)) == 1 else None


def _sum(hours: Sequence[float | None]) -> float | None:
    known = [value for value in hours if value is not None]
    return sum(known) if known and len(known) == len(hours) else None


def _checkpoint(outcome: Outcome | None, folds: Sequence[ModelOutcome]) -> str | None:
    """The file with the weights of a training, in model_path."""
    names = {fold.checkpoint for fold in folds}
    if not isinstance(outcome, ModelOutcome) or len(names) != 1:
        return None
    name = names.pop()
    return f"fold_*/{name}" if name and name.endswith(".pth") and len(folds) > 1 else name


def stage_outcome(run: RunDir, record: RunRecord, spec: StageSpec) -> Outcome | None:
    """The outcome that the stage's worker wrote; for a reused fold, the one that an earlier run left in its folder."""
    if not spec.reused or spec.fold is None:
        return run.stage(spec.name).outcome()
    files = DatasetFiles(record.folders, record.dataset_name)
    return fold_outcome(FoldFiles(files.fold_of(record, spec)))


def model_outcome(run: RunDir, record: RunRecord, spec: StageSpec) -> ModelOutcome | None:
    """What a stage measured on a model; None if it measured nothing."""
    found = stage_outcome(run, record, spec)
    return found if isinstance(found, ModelOutcome) else None


def _unknowns(outcome: MeasuredOutcome | None, folds: Sequence[tuple[StageSpec, ModelOutcome | None]]) -> Iterator[str]:
    """Why a Dice is null although it was measured: for the whole, and for each of several folds."""
    if outcome is not None and (why := _why_null(outcome)):
        yield why
    for spec, fold in folds if len(folds) > 1 else ():
        if fold is not None and (why := _why_null(fold)):
            yield f"Fold {fold_name(spec.fold)}: {why}"


def _why_null(outcome: MeasuredOutcome) -> str | None:
    if outcome.metrics is None or outcome.metrics.dice is not None:
        return None
    cases = "scored case" if isinstance(outcome, PredictionOutcome | EvaluationOutcome) else "validation case"
    return why_dice_is_null({line.label: line.dice for line in outcome.per_class}, cases)


def _fold_result(spec: StageSpec, outcome: ModelOutcome | None) -> FoldResult:
    metrics = outcome.metrics if outcome and outcome.ok else None
    return FoldResult(
        fold=fold_name(spec.fold),
        dice=metrics.dice if metrics else None,
        iou=metrics.iou if metrics else None,
        validation_loss=metrics.validation_loss if metrics else None,
        cases=len(outcome.cases) if outcome else 0,
        epochs=outcome.epochs_trained if outcome else None,
        reused=spec.reused,
        worst_cases=worst(outcome, WORST_OF_A_FOLD) if outcome else (),
    )


def mean_sd(values: Iterable[float | None]) -> str | None:
    """Mean ± sample standard deviation; null if a value is unknown or there is only one."""
    given = list(values)
    known = [value for value in given if value is not None]
    if len(known) < 2 or len(known) != len(given):
        return None
    return f"{statistics.fmean(known):.4f} ± {statistics.stdev(known):.4f}"


def worst(measured: MeasuredOutcome, most: int) -> tuple[CaseMetrics, ...]:
    """The cases with the lowest Dice, lowest first.

    In the usual few their volumes are left out: the notes have them where they matter. Who asks for more gets them, and
    at the end the cases that have no Dice.
    """
    ranked = sorted((case for case in measured.cases if case.dice is not None), key=lambda case: case.dice or 0.0)
    if most <= WORST_CASES:
        return tuple(case.model_copy(update={"voxels": {}, "ml": {}}) for case in ranked[:most])
    others = (case for case in measured.cases if case.dice is None)
    return tuple(with_ml(case, measured.voxel_mm3) for case in (*ranked, *others))[:most]


def _uncertain(outcome: Outcome | None, most: int) -> tuple[CaseUncertainty, ...]:
    """The most uncertain cases: ten where nobody said how many."""
    found = outcome.uncertain if isinstance(outcome, PredictionOutcome) else ()
    return found[: UNCERTAIN_CASES if most == WORST_CASES else most]


def with_ml(case: CaseMetrics, voxel_mm3: float | None) -> CaseMetrics:
    """The case with its volumes, where the size of a voxel is known."""
    if case.ml or voxel_mm3 is None:
        return case
    each = voxel_mm3 / 1000
    ml = {name: (predicted * each, true * each) for name, (predicted, true) in case.voxels.items()}
    return case.model_copy(update={"ml": ml})

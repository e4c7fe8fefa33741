"""Gather cases for pictures: their Dice per fold, one with its prediction, a few with their labels."""

import difflib
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from ...allowed_paths import readable, readable_file
from ...calls import argument, call
from ...errors import NotFound
from ...nnunet.cases import case_names, image_of, label_names, truth_of
from ...nnunet.dataset_json import Description, read_description
from ...nnunet.datasets import DatasetFiles, find_dataset
from ...nnunet.scores import EVALUATED
from ...nnunet.summary import finite
from ...runs.layout import RunDir, StateDir
from ...runs.result import stage_outcome, with_ml
from ...runs.store import find_run
from ...schemas.jobs import EvaluationJob
from ...schemas.outcomes import MeasuredOutcome
from ...schemas.plots import CasePicture, CasesPicture, ClassScore, FoldsPicture, Picture, PlotRequest
from ...schemas.records import CaseMetrics, RunRecord, StageSpec
from ...settings import Settings
from ...texts import clean, fold_name, numbered, some, told
from ..data.looks import look_into
from ..data.summary.outliers import flagged

DATASET_CASES = 4
CLASSES_TOLD = 8


def run_of(request: PlotRequest, settings: Settings) -> tuple[RunDir, RunRecord]:
    """The run in the request."""
    return find_run(StateDir.of(settings), str(request.run_id))


@dataclass(frozen=True)
class Validated:
    """A validation case and the fold that predicted it."""

    spec: StageSpec
    case: CaseMetrics


def _validated(run: RunDir, record: RunRecord) -> list[Validated]:
    found = []
    for spec in record.stages if record.job.kind == "evaluate" else record.model_stages:
        outcome = stage_outcome(run, record, spec)
        if isinstance(outcome, MeasuredOutcome):
            found += [Validated(spec, with_ml(case, outcome.voxel_mm3)) for case in outcome.cases]
    if not found and record.training is None and record.job.kind != "evaluate":
        raise NotFound(
            f"Run {record.run_id} is no training, and only cases of trainings and evaluations are drawn; "
            f"{call('nnunet_results', run_id=record.run_id)} says where its files and scores are."
        )
    if not found:
        so_far = f"; {argument(kind='curves')} shows the training so far" if record.training else ""
        raise NotFound(
            f"Run {record.run_id} has no validated {'fold' if record.training else 'case'} yet. "
            f"{call('nnunet_progress')} says how far it is{so_far}."
        )
    return found


def folds(request: PlotRequest, settings: Settings) -> tuple[Picture, str]:
    """The Dice of each validation case of a run.

    Raises:
        NotFound: the run, the case or its files do not exist (yet).
    """
    run, record = run_of(request, settings)
    by_fold = _by_fold(_validated(run, record))
    labels = tuple(dict.fromkeys(name for cases in by_fold.values() for case in cases for name in case.per_class))
    folds = {
        fold: tuple(tuple(finite(case.per_class.get(label)) for case in cases) for label in labels)
        for fold, cases in by_fold.items()
    }
    picture = FoldsPicture(title=f"{record.run_id}: Dice per class", theme=request.theme, labels=labels, folds=folds)
    if record.training is None:
        return (
            picture,
            f"Dice of each of {numbered(len(by_fold[EVALUATED]), 'case')} per class, predictions against labels.",
        )
    counted = ", ".join(f"fold {fold}: {numbered(len(cases), 'case')}" for fold, cases in by_fold.items())
    return picture, f"Dice of each validation case per class and fold ({counted}), from nnU-Net's own validation."


def _by_fold(cases: list[Validated]) -> dict[str, list[CaseMetrics]]:
    found: dict[str, list[CaseMetrics]] = {}
    for one in cases:
        fold = EVALUATED if one.spec.fold is None else fold_name(one.spec.fold)
        found.setdefault(fold, []).append(one.case)
    return found


def overlay(request: PlotRequest, settings: Settings) -> tuple[Picture, str]:
    """One validation case of a run with its prediction.

    Raises:
        NotFound: the run, the case or its files do not exist (yet).
    """
    run, record = run_of(request, settings)
    chosen, rank = _choose(_validated(run, record), request.case or "worst")
    if isinstance(record.job, EvaluationJob):
        return _evaluated(record, record.job, chosen.case, rank, request, settings)
    files = DatasetFiles(record.folders, record.dataset_name)
    fold = files.fold_of(record, chosen.spec)
    description = read_description(files.raw)
    prediction = fold / "validation" / f"{chosen.case.case}{description.file_ending}"
    if not prediction.is_file():
        raise NotFound(
            f"The prediction of case {chosen.case.case} is not in {prediction.parent}. Ask the person whether to "
            f"write it again: {call('nnunet_training')} with {argument(validation_only=True)}; nothing is retrained."
        )
    dice = "no Dice" if chosen.case.dice is None else f"Dice {chosen.case.dice:.3f}"
    text = f"Case {chosen.case.case}, {dice}{rank}, predicted by fold {fold_name(chosen.spec.fold)} of {record.run_id}"
    case = _case_picture(files, description, chosen.case.case, settings, prediction, _scores(chosen.case))
    names, ignored = label_names(description)
    title = f"{record.dataset_name}, {chosen.case.case}: {dice}{rank}"
    picture = CasesPicture(title=title, theme=request.theme, cases=(case,), names=names, ignored=ignored)
    return (
        picture,
        f"{text}: image, truth, prediction and differences, cropped around the structure. {_told(chosen.case)}",
    )


def _evaluated(
    record: RunRecord, job: EvaluationJob, case: CaseMetrics, rank: str, request: PlotRequest, settings: Settings
) -> tuple[Picture, str]:
    """A case whose prediction was evaluated, over the image that the dataset has of it."""
    prediction, truth = (
        readable_file(Path(folder) / name, settings)
        for folder, name in zip((job.predictions, job.labels), job.pairs[case.case], strict=True)
    )
    raw = DatasetFiles(record.folders, record.dataset_name).raw
    images = [
        path for part in ("imagesTr", "imagesTs") for path in sorted((raw / part).glob(f"{escape(case.case)}_0000.*"))
    ]
    if not images:
        raise NotFound(
            f"The image of case {clean(case.case)} is not known. {argument(kind='folds')} needs no images. Ask "
            f"the person whether to measure again, with a dataset: {call('nnunet_evaluate', dataset_id=None)}."
        )
    dice = "no Dice" if case.dice is None else f"Dice {case.dice:.3f}"
    named = job.labels_named or {label: int(label) for label in case.per_class}
    names, ignored = label_names(Description({"labels": named}))
    shown = CasePicture(
        name=case.case,
        image=str(readable(images[0], settings)),
        truth=str(truth),
        prediction=str(prediction),
        scores=_scores(case),
    )
    title = f"{record.run_id}, {case.case}: {dice}{rank}"
    picture = CasesPicture(title=title, theme=request.theme, cases=(shown,), names=names, ignored=ignored)
    return picture, f"Case {case.case}, {dice}{rank}: image, truth, prediction and differences. {_told(case)}"


def _scores(case: CaseMetrics) -> tuple[ClassScore, ...]:
    return tuple(
        ClassScore(label=name, dice=finite(dice), voxels=case.voxels.get(name)) for name, dice in case.per_class.items()
    )


def _told(case: CaseMetrics) -> str:
    """The Dice and volumes of each class in words, the lowest first; where nothing was predicted, that before."""
    known = sorted((dice, name) for name, dice in case.per_class.items() if dice is not None)
    lines = [f"{clean(name, 30)} {dice:.3f}{_volumes(case, name)}" for dice, name in known]
    nothing = case.voxels and not any(predicted for predicted, _ in case.voxels.values())
    empty = "The prediction is empty: it has nothing but background. " if nothing else ""
    return f"{empty}Per class: {some(lines, CLASSES_TOLD)}."


def _volumes(case: CaseMetrics, name: str) -> str:
    if (ml := case.ml.get(name)) is not None:
        return f" (truth {ml[1]:.4g} ml, predicted {ml[0]:.4g})"
    if (voxels := case.voxels.get(name)) is not None:
        return f" (truth {voxels[1]:,} voxels, predicted {voxels[0]:,})"
    return ""


def _choose(cases: list[Validated], wanted: str) -> tuple[Validated, str]:
    """The case of that name or rank, and its rank in words."""
    named = next((one for one in cases if one.case.case == wanted), None)
    if named is not None:
        return named, ""
    ranked = sorted((one for one in cases if one.case.dice is not None), key=lambda one: one.case.dice or 0.0)
    places = {"worst": 0, "median": (len(ranked) - 1) // 2, "best": len(ranked) - 1}
    if wanted not in places:
        names = ", ".join(sorted(one.case.case for one in cases)[:8])
        raise NotFound(f"{wanted!r} is no validation case of this run. Cases: {names}, …; or worst, median, best.")
    if not ranked:
        raise NotFound("No validation case has a Dice. Name a case instead of worst, median or best.")
    return ranked[places[wanted]], f", the {wanted} of {len(ranked)}"


def dataset(request: PlotRequest, settings: Settings) -> tuple[Picture, str]:
    """One training case with its labels, or a few: those that a look has found odd, then others.

    Raises:
        NotFound: the run, the case or its files do not exist (yet).
    """
    if request.dataset_id is not None:
        files = find_dataset(settings.folders, request.dataset_id)
    else:
        record = run_of(request, settings)[1]
        files = DatasetFiles(record.folders, record.dataset_name)
    description = read_description(files.raw)
    cases = case_names(files, description)
    if not cases:
        raise NotFound(
            f"{files.name} has no case with image and labels. {call('nnunet_datasets')} says what is missing."
        )
    odd = flagged(look_into(files, description, settings, budget_s=0), description)
    shown = _named(request.case, cases) if request.case else _odd_first(cases, [case for case in odd if case in cases])
    pictures = tuple(_case_picture(files, description, case, settings) for case in shown)
    names, ignored = label_names(description)
    title = f"{files.name}: {request.case or f'{len(shown)} of {len(cases)} cases'}"
    why = [(case, odd[case]) for case in shown if case in odd]
    unusual = f" Unusual: {told(why)}." if why else ""
    where = "each at the slice with most labelled voxels, cropped around them"
    text = f"{title} ({some(shown, DATASET_CASES)}), {where}.{unusual}"
    picture = CasesPicture(title=title, theme=request.theme, cases=pictures, names=names, ignored=ignored)
    return picture, f"{text} Check that the labels fit."


def _named(wanted: str, cases: list[str]) -> list[str]:
    if wanted not in cases:
        near = difflib.get_close_matches(wanted, cases, n=3) or cases[:3]
        raise NotFound(f"The dataset has no case {clean(wanted)!r} with image and label. Cases: {some(near)}, …")
    return [wanted]


def _odd_first(cases: list[str], odd: list[str]) -> list[str]:
    """A few cases: odd ones, and others evenly spread over the list."""
    first = odd[:DATASET_CASES]
    others = [case for case in cases if case not in first]
    count = min(DATASET_CASES - len(first), len(others))
    places = [round(number * (len(others) - 1) / max(1, count - 1)) for number in range(count)]
    return [*first, *(others[place] for place in places)]


def _case_picture(
    files: DatasetFiles,
    description: Description,
    case: str,
    settings: Settings,
    prediction: Path | None = None,
    scores: tuple[ClassScore, ...] = (),
) -> CasePicture:
    return CasePicture(
        name=case,
        image=str(readable(image_of(files, description, case), settings)),
        truth=str(readable(truth_of(files, description, case), settings)),
        prediction=str(prediction) if prediction else None,
        scores=scores,
    )

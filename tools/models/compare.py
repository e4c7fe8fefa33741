"""nnunet_compare: trained models side by side, paired over the same cases. Incomplete cross-validations get no rank."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ...calls import call
from ...errors import NotFound, Refused
from ...nnunet.datasets import DatasetFiles, find_dataset
from ...nnunet.models import Model, model_of
from ...nnunet.scores import EVALUATED, Scores, paired_difference, read_scores, scores_of
from ...nnunet.splits import (
    complete_folds,
    is_fixed_set,
    patients_of,
    read_split,
    torn_patients,
    validated_twice,
)
from ...nnunet.summary import fold_outcome, why_dice_is_null
from ...runs.layout import StateDir
from ...runs.model_owners import runs_behind, taken_over, told_taken_over
from ...runs.result import mean_sd
from ...runs.store import find_run
from ...schemas.jobs import NO_DATASET
from ...schemas.models import MOST_REPORTED, CompareAnswer, ComparedModel, CompareRequest, ModelDifference
from ...schemas.outcomes import EvaluationOutcome, ModelOutcome
from ...settings import Settings
from ...texts import fold_name, some
from ..helping import about_torn
from ..watching.run_lines import line_of
from ..watching.snapshot import newest
from .comparison_tables import write_last_epochs, write_table
from .differing import Origin, trained_otherwise
from .verdicts import FEWEST_UNITS, method, next_step, verdict


def nnunet_compare(request: CompareRequest, settings: Settings) -> CompareAnswer:
    """Compare runs, or everything that was trained on a dataset.

    Raises:
        NotFound: no such run or dataset, or nothing of it has finished an epoch.
        Refused: the runs belong to different datasets.
    """
    origins, notes = _of_runs(request, settings) if request.run_ids else (_of_dataset(request, settings), [])
    read = [(origin.model, _scores(origin, settings)) for origin in origins]
    notes += [f"{text} It is left out." for _, scores in read for text in scores.unread]
    measured = [(model, scores) for model, scores in read if scores.folds]
    if not measured:
        return _not_validated(origins, notes, request, settings)
    notes += [text for origin, (_, scores) in zip(origins, read, strict=True) for text in _left_out(origin, scores)]
    datasets = {model.files.name for model, _ in measured if model.files.dataset_id != NO_DATASET}
    if len(datasets) > 1:
        names = ", ".join(sorted(datasets))
        raise Refused(f"These runs are of different datasets ({names}), so they have no cases in common.")
    answer = _compare(measured, notes, request, {str(origin.model.folder): origin for origin in origins})
    trainings = not any(origin.evaluation for origin in origins)
    return answer.model_copy(update={"next_step": f"{answer.next_step}{_to_hand_on(request) if trainings else ''}"})


def _to_hand_on(request: CompareRequest) -> str:
    many = 1 < len(request.run_ids) <= MOST_REPORTED
    return f" {call('nnunet_report', run_ids=list(request.run_ids))} writes it into a file." if many else ""


def _not_validated(
    origins: list[Origin], notes: list[str], request: CompareRequest, settings: Settings
) -> CompareAnswer:
    """Where trainings without a validated fold stand, in place of a comparison."""
    ids = [record.run_id for origin in origins for record in origin.records]
    runs = [line for view in newest(ids, settings) if (line := line_of(view, ())).epoch is not None]
    if not runs:
        none = f"None of these models has a validated fold yet. {call('nnunet_runs')} shows which runs are how far."
        raise NotFound(" ".join((none, *notes)))
    silent = [run_id for run_id in ids if run_id not in {run.run_id for run in runs}]
    notes += [f"{run_id} has not finished an epoch. It is left out." for run_id in silent]
    return CompareAnswer(
        models=(),
        differences=(),
        method="No fold is validated, so there is no Dice to compare. The table has the last epoch of each training; "
        "its pseudo Dice is an estimate on patches.",
        table=write_last_epochs(runs, request.table),
        notes=tuple(notes),
        next_step=f"{call('nnunet_plot', run_id=runs[0].run_id)} draws the curves, with_run_ids of several; compare "
        "again when they are validated.",
    )


def _scores(origin: Origin, settings: Settings) -> Scores:
    """What was measured; of an evaluation that has not ended nothing."""
    if (record := origin.evaluation) is None:
        return read_scores(origin.model)
    outcome = StateDir.of(settings).run(record.run_id).stage(record.stages[-1].name).outcome()
    return scores_of(outcome.cases if isinstance(outcome, EvaluationOutcome) else ())


def _left_out(origin: Origin, scores: Scores) -> Iterable[str]:
    """What was asked for and is not there yet."""
    model = origin.model
    if origin.evaluation:
        if not scores.folds:
            yield f"{model.folder.name} has no scores (yet). It is left out."
        return
    lacking = [fold_name(fold) for fold in model.folds if not model.fold(fold).finished()]
    if not model.folds:
        yield f"{model.folder.name} has no validated fold yet. It is left out."
    elif lacking:
        many = "s" if len(lacking) > 1 else ""
        yield f"{model.folder.name}: fold{many} {', '.join(lacking)} not validated yet, so left out."


def _of_dataset(request: CompareRequest, settings: Settings) -> list[Origin]:
    files, state = find_dataset(settings.folders, int(request.dataset_id or 0)), StateDir.of(settings)
    folds = (*complete_folds(files), "all")
    models = (_finished(Model(files, folder, folds)) for folder in sorted(files.results.glob("*__*__*")))
    return [_traced(model, state) for model in models]


def _traced(model: Model, state: StateDir) -> Origin:
    runs = runs_behind(state, model)
    return Origin(model, tuple(record for _, record in runs), tuple(run.provenance() for run, _ in runs))


def _of_runs(request: CompareRequest, settings: Settings) -> tuple[list[Origin], list[str]]:
    """The models of the runs, with the folds that are still theirs, and notes on what is left out or merged."""
    state = StateDir.of(settings)
    found: dict[Path, Origin] = {}
    notes = []
    for run_id in dict.fromkeys(request.run_ids):
        run, record = find_run(state, run_id)
        if record.job.kind == "evaluate":
            files = DatasetFiles(record.folders, record.dataset_name)
            model = Model(files, files.evaluation(run_id), (EVALUATED,))
            found[model.folder] = Origin(model, (record,), (run.provenance(),))
            continue
        model, others = model_of(record), taken_over(state, record)
        before = found.get(model.folder) or Origin(replace(model, folds=()))
        folds = tuple(sorted({*before.model.folds, *(set(model.folds) - others.keys())}))
        records, ends = (*before.records, record), (*before.ends, run.provenance())
        found[model.folder] = Origin(replace(model, folds=folds), records, ends)
        notes += [f"{told_taken_over(fold, run_id, other)} It is left out." for fold, other in others.items()]
    return list(found.values()), [*notes, *map(_merged, filter(_is_merged, found.values()))]


def _is_merged(origin: Origin) -> bool:
    return len(origin.records) > 1 and any(origin.model.fold(fold).finished() for fold in origin.model.folds)


def _merged(origin: Origin) -> str:
    ids = " and ".join(record.run_id for record in origin.records)
    return (
        f"{ids} have the same model folder, {origin.model.folder.name}: their validated folds are shown as one model."
    )


def _finished(model: Model) -> Model:
    """The model with its finished folds, or with the model of every case if there is only that."""
    done = tuple(fold for fold in model.folds if model.fold(fold).finished())
    return replace(model, folds=tuple(fold for fold in done if fold != "all") or done)


def _compare(
    measured: list[tuple[Model, Scores]], notes: list[str], request: CompareRequest, origins: Mapping[str, Origin]
) -> CompareAnswer:
    described = [(_describe(model, scores), scores) for model, scores in measured]
    described.sort(key=lambda pair: (not pair[0].complete, -(pair[0].dice or 0.0)))
    ranked = _told_apart(_ranked(described), origins)
    differences = tuple(_differences(list(zip(ranked, (scores for _, scores in described), strict=True))))
    files = measured[0][0].files
    return CompareAnswer(
        models=tuple(ranked),
        differences=differences,
        method=method(differences),
        table=write_table(ranked, request.table),
        notes=(
            *notes,
            *_fixed_set(files),
            *_torn(files),
            *_notes(described),
            *_rankless(ranked),
            *_unpaired(described, differences),
            *_other_classes(described),
        ),
        next_step=next_step(ranked, differences, complete_folds(files), files.dataset_id),
    )


def _describe(model: Model, scores: Scores) -> ComparedModel:
    outcomes = [fold_outcome(model.fold(fold)) for fold in scores.folds]
    iou = scores.per_label("iou")
    return ComparedModel(
        name=model.folder.name,
        folds=tuple(map(fold_name, scores.folds)),
        complete=set(scores.folds) == set(complete_folds(model.files)) and not validated_twice(scores.folds),
        rank=None,
        cases=len(scores.cases),
        dice=_rounded(scores.mean()),
        iou=_rounded(scores.mean("iou")),
        dice_mean_sd=mean_sd(scores.mean(cases=cases) for cases in scores.folds.values()),
        per_class={name: (_rounded(dice), _rounded(iou[name])) for name, dice in scores.per_label().items()},
        epochs=next((o.epochs_trained for o in outcomes if o is not None), None),
        train_hours=_hours(outcomes),
        parameters=next((o.parameters for o in outcomes if o is not None), None),
        model_path=str(model.folder),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _hours(outcomes: list[ModelOutcome | None]) -> float | None:
    hours = [outcome.train_hours if outcome else None for outcome in outcomes]
    known = [value for value in hours if value is not None]
    return round(sum(known), 3) if len(known) == len(hours) else None


def _ranked(described: list[tuple[ComparedModel, Scores]]) -> list[ComparedModel]:
    """Rank several complete cross-validations over the same cases, best first."""
    complete = [(model, scores) for model, scores in described if _can_rank(model)]
    same = len(complete) > 1 and len({frozenset(scores.cases) for _, scores in complete}) == 1
    places = {model.name: place for place, (model, _) in enumerate(complete, 1)} if same else {}
    return [model.model_copy(update={"rank": places.get(model.name)}) for model, _ in described]


def _told_apart(models: list[ComparedModel], origins: Mapping[str, Origin]) -> list[ComparedModel]:
    """The models with their notes, and with how they were trained other than the first."""
    own = [origins[model.model_path] for model in models]
    told = [{"note": one.note, "differs": tuple(trained_otherwise(one, own[0]))} for one in own]
    return [model.model_copy(update=update) for model, update in zip(models, told, strict=True)]


def _can_rank(model: ComparedModel) -> bool:
    return model.complete and model.dice is not None


def _differences(pairs: list[tuple[ComparedModel, Scores]]) -> Iterable[ModelDifference]:
    usable = [(model, scores) for model, scores in pairs if "full" not in model.folds]
    for model, scores in usable[1:]:
        best, reference = usable[0]
        shared = scores.cases & reference.cases
        if (found := paired_difference(scores, reference, patients_of(shared))) is not None:
            yield ModelDifference(
                model=model.name,
                against=best.name,
                cases=found.cases,
                shared=tuple(sorted(shared)) if len(shared) < FEWEST_UNITS else (),
                patients=found.units if found.units != found.cases else None,
                dice=round(found.dice, 5),
                against_dice=round(found.other, 5),
                difference=round(found.mean, 5),
                low=round(found.low, 5),
                high=round(found.high, 5),
                p=round(found.p, 4),
                clear=found.clear,
                verdict=verdict(model.name, best.name, found),
            )


def _unpaired(described: list[tuple[ComparedModel, Scores]], differences: Iterable[ModelDifference]) -> Iterable[str]:
    """Models that could have been paired, had they validated a case of the first."""
    usable = [model.name for model, _ in described if "full" not in model.folds]
    for name in set(usable[1:]) - {found.model for found in differences}:
        yield f"{name} and {usable[0]} have validated no common case, so nothing says which is better."


def _unknowns(model: ComparedModel, scores: Scores) -> Iterable[str]:
    """Why a mean Dice is null: over all cases, or over those of a fold."""
    if why := why_dice_is_null(scores.per_label()):
        yield f"{model.name}: {why}"
        return
    for fold, cases in scores.folds.items():
        if why := why_dice_is_null(scores.per_label(cases=cases)):
            yield f"{model.name}, fold {fold_name(fold)}: {why}"


def _other_classes(described: list[tuple[ComparedModel, Scores]]) -> Iterable[str]:
    """A case's mean Dice is over its classes, so other classes make other means."""
    first, scores = described[0]
    for model, others in described[1:]:
        if differing := sorted(scores.dice.keys() ^ others.dice.keys()):
            yield (
                f"{first.name} and {model.name} have different classes ({some(differing)}), so their means over "
                "classes do not compare."
            )


def _fixed_set(files: DatasetFiles) -> Iterable[str]:
    if is_fixed_set(files):
        yield "The split is a fixed validation set, no cross-validation: what is best there is so for these cases only."


def _torn(files: DatasetFiles) -> Iterable[str]:
    """What the runs' own results say too; a model that was trained by hand has none."""
    split = read_split(files.splits_file) or ()
    torn, pattern = torn_patients(split, sorted(frozenset[str]().union(*(fold.every for fold in split))))
    if torn:
        yield about_torn(files.dataset_id, torn, pattern)


def _notes(described: list[tuple[ComparedModel, Scores]]) -> Iterable[str]:
    for model, scores in described:
        if "full" in model.folds:
            yield f"{model.name}: one model of every case; its metrics are measured on training data, so no rank."
        elif twice := validated_twice(scores.folds):
            yield f"{model.name}: {twice}, which is no cross-validation, so no rank."
        elif EVALUATED in model.folds:
            yield f"{model.name}: predictions that were evaluated, no cross-validation, so no rank."
        elif not model.complete:
            yield f"{model.name}: incomplete (folds {', '.join(model.folds)}), so no rank."
        yield from _unknowns(model, scores)


def _rankless(models: list[ComparedModel]) -> Iterable[str]:
    if sum(_can_rank(model) for model in models) > 1 and not any(model.rank for model in models):
        yield "The complete models have different cases, so none is ranked."

"""nnunet_find_best_configuration: choose the models that can be compared, then start nnU-Net's own search."""

from collections.abc import Iterator

from ...calls import argument, call
from ...errors import NotFound, Refused
from ...nnunet.best import source_of
from ...nnunet.datasets import DatasetFiles, FoldFiles, find_dataset
from ...nnunet.installed import installed
from ...nnunet.models import Model
from ...nnunet.preprocessed import planned
from ...nnunet.scores import read_scores
from ...nnunet.splits import complete_folds, is_fixed_set, validated_cases, validated_twice
from ...runs.engines import engine_with_options
from ...runs.layout import StateDir
from ...runs.store import new_record
from ...schemas.jobs import BEST, SearchJob
from ...schemas.models import FindBestRequest
from ...schemas.records import StageSpec
from ...schemas.run_list import RunStarted
from ...settings import Settings
from ...texts import some
from ..training.training import start_recorded

LONGEST_NAME = 255  # bytes, as file systems have it


def nnunet_find_best_configuration(request: FindBestRequest, settings: Settings) -> RunStarted:
    """Start the search among the complete cross-validations of a dataset.

    Raises:
        RunError: there is nothing to search among, or something is missing; the message says the way out.
    """
    files = find_dataset(settings.folders, request.dataset_id)
    models, notes = _candidates(files, StateDir.of(settings))
    _refuse_other_cases(models)
    if request.ensembling and len(models) > 1:
        _refuse_long_ensemble(files, models)
        _refuse_without_softmax(models, request.dataset_id)
    job = SearchJob(
        dataset_id=request.dataset_id,
        models=tuple(model.folder.name for model in models),
        folds=models[0].folds,
        ensembling=request.ensembling and len(models) > 1,
    )
    record = new_record(
        job,
        [StageSpec(name="find_best", kind="find_best", configuration=BEST)],
        dataset_name=files.name,
        folders=files.folders,
        engine=engine_with_options(settings),
        versions=installed(settings.nnunet_python).versions,
        notes=notes,
    )
    folds = [f"{files.name}/{model.folder.name}/fold_{fold}" for model in models for fold in model.folds]
    return start_recorded(record, [f"best configuration {files.name}", *folds], settings)


def _candidates(files: DatasetFiles, state: StateDir) -> tuple[list[Model], list[str]]:
    """The complete cross-validations, and why other models are left out."""
    models, notes, ways = [], [], []
    whole = "validation on the fixed set" if is_fixed_set(files) else "cross-validation"
    for folder in sorted(files.results.glob("*__*__*")):
        model = Model(files, folder, tuple(complete_folds(files)))
        if reason := _why_not(model, state):
            notes.append(f"{folder.name} is left out: {reason}.")
            ways += [_way_to_all_folds(model)]
        else:
            models.append(model)
    if not models:
        told = " ".join(notes) or f"Nothing is trained on {files.name}."
        usual = call("nnunet_training", dataset_id=files.dataset_id, configuration=None, fold="all")
        way = f"Ask the person whether to train all folds: {'; or '.join(ways[:2]) or usual}."
        raise NotFound(f"No complete {whole} to search among. {told} {way}")
    if len(models) == 1:
        second = (
            f" {ways[0]} would make a second one." if ways else " A second one needs another training of all folds."
        )
        notes.insert(0, f"Only one complete {whole}, so nothing is compared: it is the best of one.{second}")
    return models, [f"Candidates: {', '.join(model.folder.name for model in models)}.", *notes]


def _way_to_all_folds(model: Model) -> str:
    """The call that trains the folds that are missing, and goes on with those that were stopped."""
    trainer, plans, configuration = model.name
    stopped = any(model.fold(fold).checkpoints() and not model.fold(fold).finished() for fold in model.folds)
    again = call(
        "nnunet_training",
        dataset_id=model.files.dataset_id,
        configuration=configuration,
        trainer=trainer,
        plans_identifier=plans,
        fold="all",
        **({"continue_training": True} if stopped else {}),
    )
    return str(again)


def _why_not(model: Model, state: StateDir) -> str | None:
    _, identifier, configuration = model.name
    if lacking := [fold for fold in model.folds if not model.fold(fold).finished()]:
        whole = "; fold_all is one model of every case, which has no cross-validation"
        return "; ".join(_how_far(model, lacking, state)) + (whole if model.fold("all").finished() else "")
    if unread := read_scores(model).unread:
        return unread[0].rstrip(".")
    if twice := validated_twice({fold: validated_cases(model.fold(fold)) for fold in model.folds}):
        return f"{twice}, so they were trained on different splits"
    if planned(model.files.plans(identifier) or {}, configuration) is None:
        return f"{model.files.plans_file(identifier)} does not plan it, and nnU-Net looks there"
    return None


def _how_far(model: Model, folds: list[str], state: StateDir) -> Iterator[str]:
    """What there is of folds that are not finished; those of which there is nothing are named together."""
    nothing = []
    for name in folds:
        fold = model.fold(name)
        if fold.final.is_file():
            yield f"fold {name} is trained, but not validated"
        elif fold.checkpoints():
            yield f"fold {name} {_stopped(fold, state)}"
        else:
            nothing.append(name)
    if nothing:
        yield f"{'folds' if len(nothing) > 1 else 'fold'} {', '.join(nothing)}: not trained"


def _stopped(fold: FoldFiles, state: StateDir) -> str:
    owner = fold.owner()
    stage = state.run(owner).stage(f"train_{fold.path.name}") if owner else None
    last, progress = (stage.recent_epochs(1), stage.progress()) if stage else ([], None)
    planned_epochs = f" of {progress.epochs}" if progress and progress.epochs else ""
    if not last:
        return "has no checkpoint_final.pth: its training stopped before the end"
    return f"stopped after epoch {last[-1].epoch + 1}{planned_epochs}"


def _refuse_other_cases(models: list[Model]) -> None:
    cases = {model.folder.name: read_scores(model).cases for model in models}
    every = set().union(*cases.values())
    if lacking := {name: every - own for name, own in cases.items() if own != every}:
        name, missing = next(iter(lacking.items()))
        raise Refused(
            f"The models have not validated the same cases: {name} lacks {some(sorted(missing))}. Validate it again "
            f"with {argument(validation_only=True)}, or train it on the same split."
        )


def _refuse_long_ensemble(files: DatasetFiles, models: list[Model]) -> None:
    *_, one, other = sorted((model.folder.name for model in models), key=len)
    name = source_of(files, (one, other), models[0].folds).name
    if len(name) > LONGEST_NAME:
        raise Refused(
            f"nnU-Net would name the folder of an ensemble after both models and all folds: {one} and {other} make "
            f"{len(name)} characters, and at most {LONGEST_NAME} fit. {argument(ensembling=False)} searches without "
            "ensembles."
        )


def _refuse_without_softmax(models: list[Model], dataset_id: int) -> None:
    if lacking := list(_without_softmax(models)):
        trainer, identifier, configuration = lacking[0][0].name
        told = "; ".join(f"{model.folder.name} (fold {', '.join(folds)})" for model, folds in lacking)
        again = call(
            "nnunet_training",
            dataset_id=dataset_id,
            configuration=configuration,
            trainer=trainer,
            plans_identifier=identifier,
            fold="all",
            validation_only=True,
            npz=True,
        )
        raise Refused(
            f"Ensembling needs the softmax of every validation case, which is missing for {told}. Two ways on: "
            f"{argument(ensembling=False)} leaves ensembles out; or ask the person whether to make "
            f"it, for each: {again}."
        )


def _without_softmax(models: list[Model]) -> Iterator[tuple[Model, list[str]]]:
    for model in models:
        scores = read_scores(model)
        folds = [
            fold
            for fold, cases in scores.folds.items()
            if not cases <= {path.stem for path in (model.fold(fold).path / "validation").glob("*.npz")}
        ]
        if folds:
            yield model, folds

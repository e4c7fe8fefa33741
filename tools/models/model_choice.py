"""Which trained models a request means: a run's, those of a folder, or the best configuration of a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...allowed_paths import allowed_path
from ...calls import argument, call
from ...errors import Refused
from ...nnunet.best import Best, read_best
from ...nnunet.datasets import DatasetFiles, find_dataset
from ...nnunet.models import Model, every_trained_fold, model_at, model_of, only_folds, previous_stage
from ...nnunet.postprocessing import Step, describe_steps, read_steps
from ...nnunet.trainers import trainer_lacking
from ...nnunet.variants.in_checkpoints import trainer_of
from ...runs.engines import verdict
from ...runs.layout import StateDir
from ...runs.model_owners import BY_HAND, taken_over, told_taken_over
from ...runs.store import find_run
from ...schemas.jobs import BEST
from ...schemas.models import ModelRequest
from ...schemas.records import RunRecord
from ...settings import Settings
from ...texts import fold_name


@dataclass(frozen=True)
class Choice:
    """One model, or the two of an ensemble. `trusted`: a run of this state folder has trained it."""

    files: DatasetFiles
    models: tuple[Model, ...]
    trusted: bool
    best: Best | None = None
    run: RunRecord | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the postprocessing that was found for it."""
        return read_steps(self.best.postprocessing) if self.best else ()

    @property
    def configuration(self) -> str:
        return BEST if self.best else self.models[0].name.configuration

    def previous(self) -> tuple[Model | None, ...]:
        """For each model, the one whose segmentations it reads if it is a cascade."""
        return tuple(previous_stage(model) for model in self.models)

    def notes(self) -> tuple[str, ...]:
        """Notes on what was chosen, and on what that needs."""
        names = " and ".join(model.folder.name for model in self.models)
        labels = self.models[0].description.get("labels", {})
        chosen = [f"Best configuration: {names}{' as an ensemble' * (len(self.models) > 1)}."] if self.best else []
        pairs = zip(self.models, self.previous(), strict=True)
        cascades = [
            f"{first.folder.name} predicts first, for the cascade{_other_folds(model, first)}."
            for model, first in pairs
            if first is not None
        ]
        return (*chosen, *cascades, *(f"Postprocessing: {text}." for text in describe_steps(self.steps, labels)))


def _other_folds(model: Model, first: Model) -> str:
    lacking = [fold for fold in model.folds if fold not in first.folds]
    return f", with its {_folds(first.folds)}: it lacks {_folds(lacking)}" if lacking else ""


def _folds(names: Sequence[str]) -> str:
    return f"fold{'s' * (len(names) > 1)} {', '.join(map(fold_name, names))}"


def choose_model(request: ModelRequest, settings: Settings, folds: tuple[str, ...] = ()) -> Choice:
    """The models that are meant, trained and complete; with `folds`, only these of each.

    Raises:
        NotFound, Refused: there is no such model, or it lacks something; the message says what.
    """
    if request.run_id is not None:
        return _of_run(request.run_id, settings, folds)
    if request.model is not None:
        found = model_at(_model_folder(request.model, settings), settings.folders)
        model = only_folds(found, folds, every_trained_fold(found.folder))
        if (first := previous_stage(model)) is not None:
            # its plans are to be trusted as little as those of the model itself
            model_at(first.folder, settings.folders)
        return Choice(model.files, (model,), trusted=False)
    files = find_dataset(settings.folders, request.dataset_id or 0)
    best = read_best(files)
    best = replace(best, models=tuple(only_folds(model, folds, model.folds) for model in best.models))
    return Choice(files, best.models, trusted=False, best=best)


def refuse_without_trainer(choice: Choice, settings: Settings) -> None:
    """Refuse models for whose network nnU-Net would ask a class that is not here.

    Raises:
        Refused: with the ways on.
    """
    for model in (*choice.models, *filter(None, choice.previous())):
        if lacking := trainer_lacking(trainer_of(model), settings.nnunet_python):
            raise Refused(f"{model.folder.name} cannot predict. {lacking}")


def _model_folder(given: str, settings: Settings) -> Path:
    inside = settings.folder("results") / given
    return allowed_path(settings, str(inside) if inside.is_dir() else given, what="model")


def _of_run(run_id: str, settings: Settings, folds: tuple[str, ...]) -> Choice:
    state = StateDir.of(settings)
    run, trained = find_run(state, run_id)
    if trained.training is None:
        raise Refused(
            f"Run {run_id} is no training. Name one ({call('nnunet_runs')}), a model folder with model, or with "
            f"{argument(dataset_id=None)} what {call('nnunet_find_best_configuration')} found."
        )
    whole = model_of(trained)
    there = [fold for fold in whole.folds if whole.fold(fold).final.is_file()]
    model = only_folds(whole, folds, there)
    previous_stage(model)
    if not model.folds or not set(model.folds) <= set(there):
        options = [f"folds={','.join(map(fold_name, there))}"]
        some = f"{call('nnunet_predict', run_id=run_id, options=options)}, or {argument(model=str(whole.folder))}"
        raise Refused(
            f"Run {run_id} is {verdict(run, trained).status} and has {len(there)} of {len(model.folds)} trained folds. "
            f"Wait until all are there{f', or use those that are: {some}' * bool(there)}."
        )
    _refuse_taken_over(state, trained, model)
    ours = all(model.fold(fold).owner() is not None for fold in model.folds)
    return Choice(model.files, (model,), trusted=ours, run=trained)


def _refuse_taken_over(state: StateDir, trained: RunRecord, model: Model) -> None:
    others = taken_over(state, trained)
    if others:
        told = " ".join(told_taken_over(fold, trained.run_id, other) for fold, other in others.items())
        named = f"{model.folder.parent.name}/{model.folder.name}"
        runs = [f"{argument(run_id=other)} for that, or " for other in others.values() if other != BY_HAND]
        raise Refused(f"{told} Name {''.join(runs[:1])}{argument(model=named)} for what is there now.")

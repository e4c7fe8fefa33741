"""The best configuration of a dataset, read from what nnU-Net's search wrote. Only names are taken from that file;
paths in it are never followed.

Source: nnunetv2 2.8.1, evaluation/find_best_configuration.py:164-206.
"""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ..errors import NotFound, Refused
from ..files import read_json
from ..schemas.training import ClassName, PlansName
from ..texts import SAID_LENGTH, clean
from .datasets import DatasetFiles
from .models import Model
from .postprocessing import JSON_NAME

MOST_MADE = 6


class _Selected(BaseModel):
    trainer: ClassName
    plans_identifier: PlansName
    configuration: PlansName


@dataclass(frozen=True)
class Best:
    """The best model, or the two models of the best ensemble, and the folder where nnU-Net measured them."""

    models: tuple[Model, ...]
    source: Path

    @property
    def name(self) -> str:
        """nnU-Net's name of the model or ensemble."""
        return self.models[0].folder.name if len(self.models) == 1 else self.source.name

    @property
    def postprocessing(self) -> Path:
        return self.source / JSON_NAME


def read_best(files: DatasetFiles) -> Best:
    """Read what the search found.

    Raises:
        NotFound: nobody has searched yet, or a model that was found is gone.
        Refused: the file is not nnU-Net's.
    """
    content = read_json(files.best_file)
    if content is None:
        raise NotFound(
            f"The best configuration of {files.name} is not known.", about="best", dataset_id=files.dataset_id
        )
    try:
        listed = content["best_model_or_ensemble"]["selected_model_or_models"]
        selected = [_Selected.model_validate(one) for one in listed]
        folds = tuple(str(int(fold)) for fold in content["folds"])
    except (KeyError, TypeError, ValueError, ValidationError):
        selected, folds = [], ()
    if not selected or len(selected) > 2 or not folds:
        raise Refused(f"{files.best_file} is not what nnU-Net writes.", about="best", dataset_id=files.dataset_id)
    return _best(files, selected, folds)


def _best(files: DatasetFiles, selected: Sequence[_Selected], folds: tuple[str, ...]) -> Best:
    models = tuple(Model(files, files.model(s.trainer, s.plans_identifier, s.configuration), folds) for s in selected)
    for model in models:
        if lacking := [fold for fold in folds if not model.fold(fold).final.is_file()]:
            raise NotFound(
                f"{model.folder} lacks the checkpoints of fold {', '.join(lacking)}.",
                about="best",
                dataset_id=files.dataset_id,
            )
    return Best(models, source_of(files, [model.folder.name for model in models], folds))


def source_of(files: DatasetFiles, names: Sequence[str], folds: Sequence[str]) -> Path:
    """The folder with the predictions of all folds of one model, or of an ensemble of two.

    Source: nnunetv2 2.8.1, utilities/file_path_utilities.py:58 and find_best_configuration.py:92.
    """
    together = "_".join(folds)
    if len(names) == 1:
        return files.results / names[0] / f"crossval_results_folds_{together}"
    return files.ensembles / "___".join(["ensemble", *names, together])


def made_from(files: DatasetFiles, model: str, folds: Collection[str]) -> str:
    """What was made of these folds of a model and does not follow when they are trained again, in words.

    The names say it, those that nnU-Net gives and those of exports in their usual folder.
    """
    merged = sorted((files.results / model).glob("crossval_results_folds_*"))
    ensembles = [path for path in sorted(files.ensembles.glob("ensemble___*")) if model in path.name.split("___")]
    together = [path.name for path in (*merged, *ensembles) if not set(folds).isdisjoint(_folds_in(path.name))]
    zips = [files.results / "exports" / f"{files.name}__{model}.zip"]
    best = ""
    with suppress(NotFound, Refused):
        found = read_best(files)
        if any(one.folder.name == model and not set(folds).isdisjoint(one.folds) for one in found.models):
            best = "the best configuration"
            zips.append(files.results / "exports" / f"best_{files.name}.zip")
    exported = [f"exports/{path.name}" for path in zips if path.is_file()]
    made = [clean(name, SAID_LENGTH) for name in (*together, *filter(None, [best]), *exported)]
    more = f" and {len(made) - MOST_MADE} more" if len(made) > MOST_MADE else ""
    return ", ".join(made[:MOST_MADE]) + more


def _folds_in(name: str) -> list[str]:
    """The folds at the end of crossval_results_folds_0_1_2 and of ensemble___A___B___0_1_2."""
    return re.split("_folds_|___", name)[-1].split("_")

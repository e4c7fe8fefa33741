"""Images to predict that the model was trained on: it has seen their labels, so they show nothing of its quality."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from ...errors import Refused
from ...nnunet.cases import same_files
from ...nnunet.datasets import DatasetFiles, listed_cases, listed_files
from ...nnunet.models import Model
from ...nnunet.preprocessed import raw_cases
from ...nnunet.splits import read_split, trained_cases
from ...texts import numbered, some
from .model_choice import Choice
from .prediction_images import Chosen

NOT_COMPARED = "Whether the model was trained on some of these images is not known: they are too many to compare."


def told_training_cases(choice: Choice, images: Chosen) -> tuple[str, ...]:
    """A note on images that a fold of the model was trained on: the same files, whatever their names; or, where the
    training's own are not here any more or are too many to compare, the same names."""
    models = (*choice.models, *filter(None, choice.previous()))
    cases = {case for model in models for fold in model.folds for case in _trained(choice.files, model, fold)}
    ending = str(choice.models[0].description.get("file_ending", ".nii.gz"))
    own = {path: case for case, path in _first_images(choice.files, cases, ending) if path.is_file()}
    given = {path: case for case, path in _first_given(images)}
    found, finished = same_files(given, own, (choice.files.raw, images.folder))
    same = {given[one]: own[other] for one, other in found}
    named = sorted((set(images.cases) & cases) - set(same) - set(own.values() if finished else ()))
    at_least = "" if finished else "at least "
    told = (_told_same(same, len(images.cases), at_least), _told_named(named))
    return tuple(filter(None, told)) or (() if finished else (NOT_COMPARED,))


def _told_same(same: dict[str, str], count: int, at_least: str) -> str:
    names = [case if case == trained else f"{case} = {trained}" for case, trained in sorted(same.items())]
    return (
        f"The model was trained on {at_least}{len(same)} of the {numbered(count, 'case')}: {some(names)}. What it "
        "predicts for them, and a Dice of that, says nothing about new images."
        if same
        else ""
    )


def _told_named(named: list[str]) -> str:
    return (
        f"The model was trained on cases of the same name as {some(named)}. If they are the same images, what it "
        "predicts for them says nothing about new ones."
        if named
        else ""
    )


def _trained(files: DatasetFiles, model: Model, fold: str) -> Collection[str]:
    """The training cases of a fold: as its training noted them, else as the split has them."""
    if own := trained_cases(model.fold(fold)):
        return own.train
    if fold == "all":
        return raw_cases(files) if files.raw.is_dir() else ()
    with suppress(Refused, ValueError, IndexError):
        return (read_split(files.splits_file) or ())[int(fold)].train
    return ()


def _first_images(files: DatasetFiles, cases: Iterable[str], ending: str) -> Iterable[tuple[str, Path]]:
    """The image of the first channel of each case in nnUNet_raw."""
    listed = listed_cases(files.raw)
    for case in cases:
        if listed is None:
            yield case, files.raw / "imagesTr" / f"{case}_0000{ending}"
        elif found := listed_files(files.raw, listed.get(case))[0]:
            yield case, found[0]


def _first_given(images: Chosen) -> Iterable[tuple[str, Path]]:
    for case, files in images.cases.items():
        yield case, images.folder / str(files[0])

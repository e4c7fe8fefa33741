"""nnunet_import_model: check a model's zip without unpacking it, and tell what it holds or install it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ...allowed_paths import allowed_path
from ...calls import call
from ...errors import NotFound, Refused
from ...nnunet.datasets import dataset_folders
from ...nnunet.installed import installed
from ...nnunet.model_zip import Contents, open_zip, read_contents, refuse_replacing
from ...nnunet.predictions import TrainedOn
from ...nnunet.trainers import trainer_lacking
from ...runs.machine.disk import SPARE_BYTES, refuse_without_room
from ...runs.store import new_record
from ...schemas.jobs import ImportJob
from ...schemas.model_name import ModelName
from ...schemas.models import ImportAnswer, ImportRequest, ZipContents, ZippedModel
from ...schemas.records import RunRecord, StageSpec
from ...settings import Settings
from ...texts import some
from ..training.training import start_recorded
from .zip_look import MOST_MODELS, ZipLook, listed


def nnunet_import_model(request: ImportRequest, settings: Settings) -> ImportAnswer:
    """Start the installation of a model into nnUNet_results; with `look` only tell what the zip holds.

    Raises:
        RunError: the zip is not what nnU-Net exports, or it would replace something. Nothing was unpacked.
    """
    path = allowed_path(settings, request.zip, what="zip")
    if not path.is_file():
        raise NotFound(f"zip {request.zip!r} is not a file. Name the zip with the model.")
    with open_zip(path) as archive:
        contents = read_contents(archive, path.stat().st_size)
        look = ZipLook(archive, contents, settings)
        if request.look:
            return _told(path, look, request)
        models = tuple(look.models(measured=False))
    settings.create_folders()
    _refuse_in_the_way(contents, request, settings)
    refuse_without_room({settings.folder("results"): contents.size + SPARE_BYTES})
    record = _record(path, contents, models, request, settings)
    targets = [f"import {contents.dataset}", *(f"{contents.dataset}/{fold}" for fold in contents.folds)]
    started = start_recorded(record, targets, settings)
    return ImportAnswer(**started.model_dump())


def _told(path: Path, look: ZipLook, request: ImportRequest) -> ImportAnswer:
    contents, models = look.contents, tuple(look.models(measured=True))
    description: dict[str, Any] = {}
    with suppress(Refused):
        description = look.description(contents.models[0])
    cases, notes = look.fit(request.images) if request.images else (None, ())
    found = ZipContents(
        dataset_name=contents.dataset,
        models=models,
        channels=listed(TrainedOn.of(description).channels),
        labels=listed(description.get("labels", ())),
        file_ending=description.get("file_ending", ""),
        unpacked_mb=round(contents.size / 1e6, 1),
        cases=cases,
    )
    told = (*notes, *_more(contents, models), *_texts(models))
    return ImportAnswer(contents=found, notes=told, next_step=_next_step(path, look, request, models))


def _next_step(path: Path, look: ZipLook, request: ImportRequest, models: tuple[ZippedModel, ...]) -> str:
    try:
        _refuse_in_the_way(look.contents, request, look.settings)
    except Refused as error:
        return f"Nothing was installed, and as it is here it would be refused. {error.text}"
    install = call("nnunet_import_model", zip=str(path))
    if any(one.problems for one in models):
        return (
            "Nothing was installed. Tell the person the problems, with which it would not predict here. Then ask "
            f"whether to install it nevertheless: {install}."
        )
    return f"Nothing was installed. Ask whether to install it: {install}."


def _more(contents: Contents, models: tuple[ZippedModel, ...]) -> tuple[str, ...]:
    left = len(contents.models) - len(models)
    return (f"{left} more models are in the zip.",) if left else ()


def _texts(models: tuple[ZippedModel, ...]) -> tuple[str, ...]:
    """What to do with the text of a trainer: it is code of whoever made the zip, so a person decides."""
    return tuple(
        f"The zip has the code of {ModelName.parse(one.model).trainer} as {one.trainer_text}; nothing runs it there. "
        "Let the person read it before it goes, as a .py file, into a folder in nnUNet_extTrainer."
        for one in models
        if one.trainer_text and one.whose == "not here"
    )


def _refuse_in_the_way(contents: Contents, request: ImportRequest, settings: Settings) -> None:
    _refuse_other_name(contents, settings)
    if not request.overwrite:
        refuse_replacing(contents, settings.folder("results"))


def _refuse_other_name(contents: Contents, settings: Settings) -> None:
    """Refuse another dataset name for a used id: nnU-Net's commands cannot tell two datasets with one id apart."""
    number = int(contents.dataset[7:10])
    imported = [path.name for path in settings.folder("results").glob(f"Dataset{number:03d}*")]
    if others := sorted({*dataset_folders(settings.folders, number), *imported} - {contents.dataset}):
        raise Refused(
            f"The zip holds {contents.dataset}, but id {number:03d} is already used by {', '.join(others)} here. "
            "Import it into other nnU-Net folders; or unpack it yourself into an allowed folder and name its model "
            f"folder in {call('nnunet_predict', model=None)}."
        )


def _record(
    path: Path, contents: Contents, models: tuple[ZippedModel, ...], request: ImportRequest, settings: Settings
) -> RunRecord:
    configuration = ModelName.parse(contents.models[0]).configuration
    trainers = dict.fromkeys(one.trainer for one in models)
    lacking = (trainer_lacking(trainer, settings.nnunet_python) for trainer in trainers)
    job = ImportJob(
        dataset_id=int(contents.dataset[7:10]),
        configuration=configuration,
        zip=str(path),
        overwrite=request.overwrite,
        models=tuple(contents.models),
    )
    return new_record(
        job,
        [StageSpec(name="import_model", kind="import_model", configuration=configuration)],
        dataset_name=contents.dataset,
        folders=settings.folders,
        versions=installed(settings.nnunet_python).versions,
        notes=(f"Models: {some(contents.models, MOST_MODELS)}.", *filter(None, lacking), *_texts(models)),
    )

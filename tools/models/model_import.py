"""nnunet_import_model: check a model's zip without unpacking it, then install it in the background."""

from pathlib import Path

from ...allowed_paths import allowed_path
from ...calls import call
from ...errors import NotFound, Refused
from ...nnunet.datasets import dataset_folders
from ...nnunet.installed import installed
from ...nnunet.model_zip import Contents, open_zip, read_contents, refuse_replacing
from ...nnunet.trainers import trainer_lacking
from ...runs.machine.disk import SPARE_BYTES, refuse_without_room
from ...runs.store import new_record
from ...schemas.jobs import ImportJob
from ...schemas.model_name import ModelName
from ...schemas.models import ImportRequest
from ...schemas.records import RunRecord, StageSpec
from ...schemas.run_list import RunStarted
from ...settings import Settings
from ..training.training import start_recorded


def nnunet_import_model(request: ImportRequest, settings: Settings) -> RunStarted:
    """Start the installation of a model into nnUNet_results.

    Raises:
        RunError: the zip is not what nnU-Net exports, or it would replace something. Nothing was unpacked.
    """
    path = allowed_path(settings, request.zip, what="zip")
    if not path.is_file():
        raise NotFound(f"zip {request.zip!r} is not a file. Name the zip with the model.")
    with open_zip(path) as archive:
        contents = read_contents(archive, path.stat().st_size)
    settings.create_folders()
    _refuse_other_name(contents, settings)
    if not request.overwrite:
        refuse_replacing(contents, settings.folder("results"))
    refuse_without_room({settings.folder("results"): contents.size + SPARE_BYTES})
    record = _record(path, contents, request, settings)
    targets = [f"import {contents.dataset}", *(f"{contents.dataset}/{fold}" for fold in contents.folds)]
    return start_recorded(record, targets, settings)


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


def _record(path: Path, contents: Contents, request: ImportRequest, settings: Settings) -> RunRecord:
    configuration = ModelName.parse(contents.models[0]).configuration
    trainers = dict.fromkeys(ModelName.parse(model).trainer for model in contents.models)
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
        notes=(f"Models: {', '.join(contents.models)}.", *filter(None, lacking)),
    )

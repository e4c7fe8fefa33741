"""nnunet_export_model: decide which files go into the zip and where it may lie, then write it in the background."""

import os
from pathlib import Path

from ...calls import argument
from ...errors import Refused
from ...nnunet.installed import installed
from ...nnunet.models import Model
from ...nnunet.output_paths import chosen_output, onnx_files
from ...runs.store import new_record
from ...schemas.jobs import ExportedModel, ExportJob
from ...schemas.models import ExportRequest
from ...schemas.records import RunRecord, StageSpec
from ...schemas.run_list import RunStarted
from ...settings import Settings
from ..training.training import start_recorded
from .model_choice import Choice, choose_model, refuse_without_trainer


def nnunet_export_model(request: ExportRequest, settings: Settings) -> RunStarted:
    """Start writing a model into a new zip.

    Raises:
        RunError: there is no such model, or the zip cannot lie there. Nothing was written.
    """
    choice = choose_model(request, settings)
    if "onnx" in request.include:
        _refuse_without_network(choice, settings)
    output = _output(request, choice, settings)
    record = _record(request, choice, output, settings)
    started = start_recorded(record, [f"export {output}"], settings)
    says = f"Writes {output} and {output.with_suffix('.md').name}."
    return started.model_copy(update={"notes": (says, *started.notes)})


def _refuse_without_network(choice: Choice, settings: Settings) -> None:
    """Refuse what can go into a zip but not into ONNX."""
    for model, first in zip(choice.models, choice.previous(), strict=True):
        if first is not None:
            raise Refused(
                f"{model.folder.name} is a cascade and no single network: it also reads what "
                f"{first.name.configuration} predicts. Export it without onnx in {argument(include=None)}."
            )
    refuse_without_trainer(choice, settings)


def _output(request: ExportRequest, choice: Choice, settings: Settings) -> Path:
    name = f"best_{choice.files.name}" if choice.best else f"{choice.files.name}__{choice.models[0].folder.name}"
    if request.output is None:
        output = choice.files.results / "exports" / f"{name}.zip"
    else:
        output = chosen_output(settings, request.output, choice.models)
    if output.suffix != ".zip":
        raise Refused(f"output {request.output!r} is no name of a zip. Let it end with .zip.")
    onnx = onnx_files(output, _models(choice)).values() if "onnx" in request.include else ()
    for path in (output, output.with_suffix(".md"), *onnx, *(file.with_suffix(".json") for file in onnx)):
        if os.path.lexists(path):
            raise Refused(f"{path} is there already, and nothing is overwritten. Choose another output.")
    return output


def _models(choice: Choice) -> list[Model]:
    """The models, each with the first stage of a cascade, without which it cannot be used."""
    found: dict[Path, Model] = {}
    for model, first in zip(choice.models, choice.previous(), strict=True):
        for one in (first, model):
            if one is not None:
                found[one.folder] = one
    return list(found.values())


def _record(request: ExportRequest, choice: Choice, output: Path, settings: Settings) -> RunRecord:
    job = ExportJob(
        dataset_id=choice.files.dataset_id,
        configuration=choice.configuration,
        output=str(output),
        models=tuple(ExportedModel(folder=str(model.folder), folds=model.folds) for model in _models(choice)),
        best_models=tuple(model.folder.name for model in choice.models) if choice.best else (),
        measured=str(choice.best.source) if choice.best else None,
        best=choice.notes()[:1] if choice.best else (),
        trained_with=choice.run.versions if choice.run else {},
        include=tuple(sorted(set(request.include))),
    )
    return new_record(
        job,
        [StageSpec(name="export", kind="export", configuration=choice.configuration)],
        dataset_name=choice.files.name,
        folders=choice.files.folders,
        versions=installed(settings.nnunet_python).versions,
        notes=choice.notes(),
    )

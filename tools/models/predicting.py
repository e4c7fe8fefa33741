"""nnunet_predict: check the images against the model, record, start, and answer at once."""

import os
from collections.abc import Mapping
from pathlib import Path

from ...calls import argument
from ...errors import Refused
from ...nnunet.installed import installed
from ...nnunet.output_paths import chosen_output
from ...nnunet.predictions import TrainedOn, note_of, refuse_foreign
from ...runs.engines import engine_with_options
from ...runs.store import new_record
from ...schemas.changes.options import OPTIONS, in_words, of_voxels, read_options, value_of
from ...schemas.jobs import Originals, PredictionJob
from ...schemas.models import PredictionStarted, PredictRequest
from ...schemas.records import RunRecord
from ...settings import Settings
from ...texts import fold_name
from ..training.training import start_recorded
from .model_choice import Choice, choose_model, refuse_without_trainer
from .prediction_costs import PredictionCosts
from .prediction_images import Chosen, choose_images, folder_of
from .prediction_stages import PredictionStages, plan_stages
from .training_cases import told_training_cases


def nnunet_predict(request: PredictRequest, settings: Settings) -> PredictionStarted:
    """Start a prediction in the background.

    Raises:
        RunError: it cannot start; the message says what to do. Nothing was changed.
    """
    options = read_options(request.options)
    folds = OPTIONS["folds"].values.code(value_of(options, "folds"))
    choice = choose_model(request, settings, tuple(filter(None, folds.split(","))))
    refuse_without_trainer(choice, settings)
    _refuse_without_checkpoint(choice, options)
    trained = TrainedOn.of(choice.models[0].description)
    images = choose_images(request.images, choice.files.raw, trained, settings)
    if "parts" in options:
        options["parts"] = str(min(int(options["parts"]), len(images.cases)))
    output = _output(request, choice, images.folder, options, settings)
    stages = plan_stages(choice, output, options, npz=request.npz)
    job = _job(request, choice, images, output, stages, settings)
    refuse_foreign(output, note_of(job), overwrite=request.overwrite)
    told = [f"Other than nnU-Net's own: {', '.join(in_words(job.options))}."] if job.options else []
    notes = (*told, *images.notes(), *told_training_cases(choice, images))
    record = _record(request, choice, job, stages, settings, notes)
    estimate = PredictionCosts(record, job, images, settings).told()
    started = start_recorded(record, [f"predictions {output}"], settings)
    return PredictionStarted(
        **started.model_dump(),
        dataset_id=job.dataset_id,
        dataset_name=record.dataset_name,
        model_path=" + ".join(job.models),
        folds=tuple(map(fold_name, job.folds)),
        cases=len(images.cases),
        output=str(output),
        device=record.device,
        estimate=estimate,
    )


def _refuse_without_checkpoint(choice: Choice, options: Mapping[str, str]) -> None:
    name = value_of(options, "checkpoint")
    for model in (*choice.models, *filter(None, choice.previous())):
        lacking = [fold for fold in model.folds if not model.fold(fold).checkpoint(name).is_file()]
        if lacking:
            has = [fold for fold in model.folds if fold not in lacking]
            ways = argument(options=[f"checkpoint={name}", f"folds={','.join(map(fold_name, has))}"])
            raise Refused(
                f"{model.folder} has no checkpoint_{name}.pth of fold {', '.join(map(fold_name, lacking))}. Leave "
                f"checkpoint={name} out{f', or use the folds that have one: {ways}' * bool(has)}."
            )


def _job(
    request: PredictRequest, choice: Choice, images: Chosen, output: Path, stages: PredictionStages, settings: Settings
) -> PredictionJob:
    labels = folder_of(request.labels, choice.files.raw, settings, what="labels") if request.labels else None
    return PredictionJob(
        dataset_id=choice.files.dataset_id,
        configuration=choice.configuration,
        of_run=request.run_id,
        models=tuple(str(model.folder) for model in choice.models),
        folds=choice.models[0].folds,
        images=images.asked,
        originals=_originals(images),
        order=tuple(images.cases) if "parts" in stages.options and not images.originals else (),
        output=str(output),
        labels=str(labels) if labels else None,
        npz=request.npz,
        overwrite=request.overwrite,
        options=dict(stages.options),
        trusted=choice.trusted,
        steps=stages.steps,
        parts=tuple(stages.parts),
        postprocessing=str(choice.best.postprocessing) if choice.best and choice.steps else None,
    )


def _originals(images: Chosen) -> Originals | None:
    cases = {case: tuple(names) for case, names in images.originals.items()}
    return Originals(folder=str(images.folder), cases=cases, series=images.series) if cases else None


def _record(
    request: PredictRequest,
    choice: Choice,
    job: PredictionJob,
    stages: PredictionStages,
    settings: Settings,
    told: tuple[str, ...],
) -> RunRecord:
    engine, options = engine_with_options(settings, model_of=choice.run)
    device = engine.device(request.device, settings)
    if engine.is_here and device[0] != "cuda" and "parts" in job.options:
        told = (*told, f"This machine has one place for predictions on {device[0]}: the parts follow one another.")
    return new_record(
        job,
        stages.specs,
        dataset_name=choice.files.name,
        folders=choice.files.folders,
        device=device,
        engine=(engine, options),
        versions=installed(settings.nnunet_python).versions,
        notes=(*choice.notes(), *told),
    )


def _output(
    request: PredictRequest, choice: Choice, images: Path, options: Mapping[str, str], settings: Settings
) -> Path:
    told = "_".join([images.name, *(f"{name}-{value.replace(',', '-')}" for name, value in of_voxels(options).items())])
    default = Path(os.path.realpath(_default_output(choice) / told))
    output = chosen_output(settings, request.output, choice.models) if request.output else default
    if output.is_relative_to(images):
        raise Refused(f"output {str(output)!r} lies in {images}, the images' own folder. Choose another.")
    return output


def _default_output(choice: Choice) -> Path:
    """A folder beside the model; for several models and those outside nnUNet_results, in the dataset's results."""
    model = choice.models[0].folder
    if choice.best is None and model.is_relative_to(os.path.realpath(choice.files.folders.results)):
        return model / "predictions"
    name = model.name if choice.best is None else f"best_{choice.best.name}"
    return choice.files.results / "predictions" / name

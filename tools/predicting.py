"""nnunet_predict: check the images against the model, record, start, and answer at once."""

import os
import time
from pathlib import Path

from ..runs.datasets import DatasetFiles
from ..runs.engine import start_run
from ..runs.errors import NotFound, Refused
from ..runs.files import read_json
from ..runs.layout import StateDir
from ..runs.liveness import host_name
from ..runs.look import verdict
from ..runs.models import Model, model_of
from ..runs.predictions import PredictionNote, cases_to_predict, refuse_foreign
from ..runs.preprocessed import CASCADE
from ..runs.settings import Settings
from ..runs.slurm.options import options_of
from ..runs.store import find_run, new_run_id, record_run
from ..schemas.answers import PredictionStarted
from ..schemas.requests import PredictRequest
from ..schemas.runs import RunRecord, StageSpec
from ..schemas.slurm import Engine
from .datasets import allowed_path
from .training import FIRST_LOOK_S, choose_device, follow, versions

OWN_FOLDERS = ("imagesTs", "imagesTr", "labelsTr", "labelsTs")


def nnunet_predict(request: PredictRequest, settings: Settings) -> PredictionStarted:
    """Start a prediction in the background.

    Raises:
        RunError: it cannot start; the message says what to do. Nothing was changed.
    """
    trained = find_run(StateDir(settings.state_dir), request.run_id)[1]
    model = _model(trained, settings)
    images = _folder(request.images, model.files, settings, what="images")
    labels = _folder(request.labels, model.files, settings, what="labels") if request.labels else None
    output = _output(request, model, images, settings)
    cases = _check(model, images, output)
    engine, options = _engine(trained, settings)
    device = choose_device(request.device, settings, engine=engine)
    record = RunRecord(
        run_id=new_run_id(int(trained.request["dataset_id"]), str(trained.request["configuration"]), "predict"),
        created_at=time.time(),
        request=_request(request, trained, model, images, labels, output),
        dataset_name=trained.dataset_name,
        trainer=trained.trainer,
        plans_identifier=trained.plans_identifier,
        device=device,
        folders=trained.folders,
        stages=(StageSpec(name="predict", kind="predict", configuration=str(trained.request["configuration"])),),
        engine=engine,
        slurm=options,
        host=host_name(),
        versions=versions(),
    )
    target = [f"predictions {output}"]
    run, new = record_run(StateDir(settings.state_dir), record, target, repeat_window_s=settings.repeat_window_s)
    if new:
        start_run(run, record, settings)
    return PredictionStarted(
        run_id=run.run_id,
        status=verdict(run, run.record() or record).status,
        dataset_id=int(trained.request["dataset_id"]),
        dataset_name=trained.dataset_name,
        model_path=str(model.folder),
        folds=model.folds,
        cases=len(cases),
        output=str(output),
        retry_after_s=FIRST_LOOK_S,
        next_step=follow(run.run_id),
    )


def _engine(trained: RunRecord, settings: Settings) -> tuple[Engine, dict[str, str]]:
    """Where the model was trained, with its options; else where this server starts runs."""
    if trained.engine == "slurm":
        return "slurm", trained.slurm
    return settings.engine, options_of(settings) if settings.engine == "slurm" else {}


def _request(
    request: PredictRequest, trained: RunRecord, model: Model, images: Path, labels: Path | None, output: Path
) -> dict[str, object]:
    return {
        "dataset_id": trained.request["dataset_id"],
        "configuration": trained.request["configuration"],
        "fold": "predict",
        "of_run": request.run_id,
        "folds": list(model.folds),
        "images": str(images),
        "labels": str(labels) if labels else None,
        "output": str(output),
        "npz": request.npz,
        "overwrite": request.overwrite,
    }


def _model(trained: RunRecord, settings: Settings) -> Model:
    if trained.request["configuration"] == CASCADE:
        raise Refused(
            "A cascade predicts in two steps, which nnunet_predict does not do. Use nnUNetv2_predict with 3d_lowres, "
            "then with 3d_cascade_fullres and -prev_stage_predictions."
        )
    model = model_of(trained)
    there = [fold for fold in model.folds if model.fold(fold).final.is_file()]
    if not model.folds or len(there) < len(model.folds):
        state = verdict(StateDir(settings.state_dir).run(trained.run_id), trained).status
        raise Refused(
            f"Run {trained.run_id} is {state} and has {len(there)} of {len(model.folds)} trained folds. Predict when "
            "all are there, or name a run of a single fold."
        )
    return model


def _folder(given: str, files: DatasetFiles, settings: Settings, *, what: str) -> Path:
    path = files.raw / given if given in OWN_FOLDERS else allowed_path(settings, given, what=what)
    if not path.is_dir():
        raise NotFound(f"{path} is not a folder. {what} is a folder, or imagesTs, imagesTr or labelsTr of the dataset.")
    return path


def _output(request: PredictRequest, model: Model, images: Path, settings: Settings) -> Path:
    default = model.folder / "predictions" / images.name
    output = Path(os.path.realpath(Path(request.output).expanduser())) if request.output else default
    if "\0" in str(output):
        raise Refused(f"output {request.output!r} is not a path.")
    roots = [Path(os.path.realpath(root)) for root in settings.allowed_roots]
    if request.output and not any(output.is_relative_to(root) and output != root for root in roots):
        listed = ", ".join(map(str, roots))
        raise Refused(f"output {request.output!r} lies outside the allowed folders ({listed}).")
    for forbidden in (model.files.raw, model.files.preprocessed, images):
        if output.is_relative_to(os.path.realpath(forbidden)):
            raise Refused(f"output {str(output)!r} lies in {forbidden}, which nothing is written to. Choose another.")
    return output


def _check(model: Model, images: Path, output: Path) -> list[str]:
    description = read_json(model.folder / "dataset.json") or {}
    channels = description.get("channel_names") or description.get("modality") or {}
    refuse_foreign(output, PredictionNote(model=str(model.folder), folds=model.folds))
    return cases_to_predict(images, str(description.get("file_ending", ".nii.gz")), len(channels))

"""Small things to test with: datasets of a few voxels, an in-memory client."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any, Literal

import anyio
import nibabel
import numpy
from mcp import Client
from mcp.types import CallToolResult

from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import host_name
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.schemas.jobs import (
    AnyJob,
    EvaluationJob,
    ExportedModel,
    ExportJob,
    ImportJob,
    PredictionJob,
    PredictStep,
    SearchJob,
    TrainingJob,
)
from nnunet_mcp.schemas.records import RunRecord, StageSpec
from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import Job
from tests.kit.lab import Answer, structured

Style = Literal["v2", "documented", "msd"]
# What records keep of a training in its job.
OF_A_TRAINING = ("request", "trainer", "plans_identifier", "planner", "source_plans")


def make_dataset(raw: Path, name: str, *, cases: int = 5, channels: int = 1, style: Style = "v2") -> Path:
    """Write a raw dataset of tiny images; returns its folder.

    style: "v2" is what nnU-Net reads; "documented" has modality, numbered labels and no file_ending; "msd" has
    images without channel numbers, 4D where there are several channels.
    """
    folder = raw / name
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(cases):
        _write_case(folder, f"case_{number:03d}", channels, style)
    text = json.dumps(_description(cases, channels, style))
    (folder / "dataset.json").write_text(text, encoding="utf-8")
    return folder


def _write_case(folder: Path, case: str, channels: int, style: Style) -> None:
    parts = [image(fill=channel + 1) for channel in range(channels)]
    if style == "msd":
        whole = numpy.stack(parts, axis=-1) if channels > 1 else parts[0]
        save(folder / "imagesTr" / f"{case}.nii.gz", whole)
    else:
        for channel, part in enumerate(parts):
            save(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", part)
    save(folder / "labelsTr" / f"{case}.nii.gz", (image() > 0.5).astype(numpy.uint8))


def image(fill: float = 1.0) -> "numpy.typing.NDArray[numpy.float32]":
    """A block of `fill` in the middle of zeros."""
    found = numpy.zeros((6, 7, 8), dtype=numpy.float32)
    found[2:4, 2:4, 2:4] = fill
    return found


def save(path: Path, array: "numpy.typing.NDArray[numpy.generic]", *, spacing: float = 2.0) -> None:
    """Write a NIfTI file with unequal spacings."""
    nibabel.save(nibabel.Nifti1Image(array, numpy.diag([1.5, 1.0, spacing, 1.0])), path)


def _description(cases: int, channels: int, style: Style) -> dict[str, Any]:
    names = {str(channel): f"MRI{channel}" for channel in range(channels)}
    if style == "v2":
        labels = {"background": 0, "block": 1}
        return {"channel_names": names, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    numbered = {"name": "Tiny", "modality": names, "labels": {"0": "background", "1": "block"}}
    if style == "documented":
        return {**numbered, "numTraining": cases, "numTest": 0}
    training = [{"image": f"./imagesTr/case_{n:03d}.nii.gz"} for n in range(cases)]
    return {**numbered, "tensorImageSize": "3D", "numTraining": cases, "training": training, "test": []}


def digest(folder: Path) -> str:
    """Every file's name and content."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def ask(settings: Settings, tool: str, **arguments: Any) -> Answer:
    """One tool call through a client of a server in this process.

    Raises:
        ToolRefused: the tool answered with an error.
    """

    async def once() -> CallToolResult:
        async with Client(create_server(settings)) as client:
            return await client.call_tool(tool, arguments)

    return structured(anyio.run(once))


def record_of(settings: Settings, *stages: StageSpec, run_id: str = "d001-2d-f0-tttt", **fields: Any) -> RunRecord:
    """A run of the given stages, as nnunet_training would record it."""
    known: dict[str, Any] = {
        "run_id": run_id,
        "created_at": time.time(),
        "job": training_as_asked(fields),
        "dataset_name": "Dataset001_Tiny",
        "device": "cpu",
        "folders": settings.folders,
        "stages": stages or (stage("train_fold_0"),),
        "host": host_name(),
    }
    return RunRecord(**{**known, **{name: value for name, value in fields.items() if name not in OF_A_TRAINING}})


def training_as_asked(fields: dict[str, Any]) -> TrainingJob:
    """Fold 0 of the 2d model of dataset 1, where the fields do not say otherwise."""
    asked = {"dataset_id": 1, "configuration": "2d", "fold": "0", **fields.get("request", {})}
    decided = {"trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans"}
    decided |= {name: fields[name] for name in OF_A_TRAINING if name in fields and name != "request"}
    return TrainingJob.model_validate({"request": asked, **decided})


def stage(name: str, *needs: str, **fields: Any) -> StageSpec:
    """A stage of a 2d training; its kind follows from its name."""
    kinds = {"preprocess": "preprocess", "cross_validation": "cross_validation"}
    return StageSpec(name=name, kind=kinds.get(name, "train"), configuration="2d", fold=name[-1], needs=needs, **fields)


def training_job(settings: Settings, **fields: Any) -> Job:
    """What the worker of a training has to do, recorded as nnunet_training would."""
    record = record_of(settings, **fields)
    run = StateDir(settings.state_dir).run(record.run_id)
    run.stage(record.stages[0].name).path.mkdir(parents=True)
    write_model(run.run_file, record)
    job = Job.of(str(run.path), record.stages[0].name)
    job.fold.path.mkdir(parents=True)
    return job


# A job of each kind that trains nothing.
MODEL = "nnUNetTrainer__nnUNetPlans__2d"
STEP = PredictStep(model=f"/results/{MODEL}", folds=("0",), output="/out")
JOBS: list[AnyJob] = [
    PredictionJob(
        dataset_id=1,
        configuration="2d",
        of_run=None,
        models=(f"/results/{MODEL}",),
        folds=("0",),
        images="/images",
        output="/out",
        labels=None,
        npz=False,
        overwrite=False,
        trusted=True,
        steps={"predict": STEP},
    ),
    EvaluationJob(dataset_id=1, predictions="/p", labels="/l", pairs={"a": ("a.nii.gz", "a.nii.gz")}, tolerance_mm=1.0),
    SearchJob(dataset_id=1, models=(MODEL,), folds=("0",), ensembling=False),
    ExportJob(
        dataset_id=1,
        configuration="2d",
        output="/model.zip",
        models=(ExportedModel(folder=f"/results/{MODEL}", folds=("0",)),),
    ),
    ImportJob(dataset_id=1, configuration="2d", zip="/model.zip", overwrite=False, models=(MODEL,)),
]

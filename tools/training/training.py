"""nnunet_training: check, plan, record, start, and answer at once."""

import time
from pathlib import Path

from ...allowed_paths import allowed_path
from ...calls import call
from ...liveness import host_name
from ...nnunet.datasets import DatasetFiles
from ...nnunet.installed import installed
from ...runs.engine import start_run
from ...runs.evidence import verdict
from ...runs.layout import RunDir, StateDir
from ...runs.machine.disk import refuse_without_room, room_needed
from ...runs.store import new_run_id, record_run
from ...schemas.progress import StageLine
from ...schemas.records import RunRecord
from ...schemas.slurm import Engine
from ...schemas.training import Device, TrainingRequest
from ...schemas.training_call import TrainingStarted
from ...settings import Settings
from ..data.dataset_details import refuse_known_damage
from ..data.datasets import ready_to_train
from ..machine_checks import shm_problems
from .device import check_bf16, choose_device, choose_engine, slurm_notes
from .planning import Plan, Planner
from .repeating import complete

FIRST_LOOK_S = 5


def nnunet_training(request: TrainingRequest, settings: Settings) -> TrainingStarted:
    """Start a training in the background.

    Raises:
        RunError: it cannot start; the message says what to do. Nothing was changed.
    """
    run, record, new = prepare_run(request, settings)
    if new:
        start_run(run, record, settings)
    return describe_run(run, record, repeated=not new)


def prepare_run(request: TrainingRequest, settings: Settings) -> tuple[RunDir, RunRecord, bool]:
    """Check everything, then record the run; returns whether it is new."""
    settings.create_folders()
    request, repeated = complete(request, settings)
    request = resolve_weights(request, settings)
    engine, options = choose_engine(request, settings)
    device, why = choose_device(request.device, settings, num_gpus=request.num_gpus, engine=engine)
    check_bf16(request, device, engine)
    files, notes = ready_to_train(settings, request.dataset_id)
    plan = Planner(request, files, settings.nnunet_python).make()
    refuse_what_a_look_has_shown(request, plan, settings)
    refuse_without_room(room_for(files, plan))
    versions = installed(settings.nnunet_python).versions
    said = [*repeated, *notes, *slurm_notes(engine, device, options, settings), *shm_problems(device, engine)]
    record = make_record(request, files, plan, (device, why), versions, said, engine=engine, slurm=options)
    run, new = record_run(StateDir(settings.state_dir), record, plan.targets, repeat_window_s=settings.repeat_window_s)
    return run, (record if new else run.record() or record), new


def refuse_what_a_look_has_shown(request: TrainingRequest, plan: Plan, settings: Settings) -> None:
    """Refuse data that will be verified and are known to be broken; who wants no check is not checked.

    Raises:
        Refused: the message names the cases.
    """
    if request.verify_dataset_integrity and any(not spec.reused and spec.kind == "preprocess" for spec in plan.stages):
        refuse_known_damage(settings, request.dataset_id)


def room_for(files: DatasetFiles, plan: Plan) -> dict[Path, float]:
    """Bytes that a plan will write, by folder."""
    todo = [spec for spec in plan.stages if not spec.reused]
    return room_needed(
        files,
        preprocesses=any(spec.kind == "preprocess" for spec in todo),
        folds=sum(spec.kind == "train" for spec in todo),
    )


def resolve_weights(request: TrainingRequest, settings: Settings) -> TrainingRequest:
    """The request with the absolute path of its weights.

    Raises:
        RunError: they are not where tools may read.
    """
    if request.pretrained_weights is None:
        return request
    path = allowed_path(settings, request.pretrained_weights, what="pretrained_weights")
    return request.model_copy(update={"pretrained_weights": str(path)})


def make_record(
    request: TrainingRequest,
    files: DatasetFiles,
    plan: Plan,
    device: tuple[Device, str],
    versions: dict[str, str],
    notes: list[str],
    *,
    engine: Engine = "local",
    slurm: dict[str, str] | None = None,
) -> RunRecord:
    """The record of a run that is about to start, on a device that was chosen for a reason."""
    return RunRecord(
        run_id=new_run_id(request.dataset_id, request.configuration, request.fold),
        created_at=time.time(),
        request=request.model_dump(mode="json"),
        dataset_name=files.name,
        trainer=plan.trainer,
        plans_identifier=plan.plans_identifier,
        planner=plan.planner,
        source_plans=plan.source_plans,
        device=device[0],
        device_reason=device[1],
        num_gpus=request.num_gpus or 1,
        folders=files.folders,
        stages=tuple(plan.stages),
        engine=engine,
        slurm=slurm or {},
        host=host_name(),
        versions=versions,
        notes=(*notes, *plan.notes),
    )


def describe_run(run: RunDir, record: RunRecord, *, repeated: bool = False) -> TrainingStarted:
    """The answer about a run that was started."""
    judged = verdict(run, record)
    again = ("This request was made a moment ago; this is the run that it started.",) if repeated else ()
    waits = (judged.reason,) if record.engine == "slurm" and judged.reason else ()
    return TrainingStarted(
        run_id=record.run_id,
        status=judged.status,
        dataset_id=int(record.request["dataset_id"]),
        dataset_name=record.dataset_name,
        configuration=str(record.request["configuration"]),
        fold=str(record.request["fold"]),
        device=record.device,
        device_reason=record.device_reason,
        stages=tuple(
            StageLine(name=spec.name, status=judged.stages[spec.name], detail=spec.detail) for spec in record.stages
        ),
        notes=(*record.notes, *again, *waits),
        retry_after_s=FIRST_LOOK_S,
        next_step=follow(record.run_id),
    )


def follow(run_id: str) -> str:
    """What to do once a run is started."""
    return f"It runs in the background. Follow it with {call('nnunet_progress', run_id=run_id, wait_s=25)}."

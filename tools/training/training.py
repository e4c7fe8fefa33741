"""nnunet_training: check, plan, record, start, and answer at once."""

import time

from ...errors import RunError
from ...liveness import host_name
from ...nnunet.installed import installed
from ...runs.engine import start_run
from ...runs.evidence import verdict
from ...runs.layout import RunDir, StateDir
from ...runs.store import new_run_id, record_run
from ...schemas.progress import StageLine
from ...schemas.records import RunRecord
from ...schemas.run_list import TrainingStarted
from ...schemas.training import TrainingRequest
from ...settings import Settings
from .checks import Preparation, prepare

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
    record, targets = new_record(prepare(request, settings, ahead=False, on_problem=_stop))
    run, new = record_run(StateDir(settings.state_dir), record, targets, repeat_window_s=settings.repeat_window_s)
    return run, (record if new else run.record() or record), new


def _stop(problem: RunError) -> None:
    raise problem


def new_record(ready: Preparation) -> tuple[RunRecord, list[str]]:
    """The record of a run that is about to start, and the fold folders that it will write."""
    request, plan = ready.request, ready.plan
    assert plan is not None and ready.files is not None and ready.device is not None
    record = RunRecord(
        run_id=new_run_id(request.dataset_id, request.configuration, request.fold),
        created_at=time.time(),
        request=request.model_dump(mode="json"),
        dataset_name=ready.files.name,
        trainer=plan.trainer,
        plans_identifier=plan.plans_identifier,
        planner=plan.planner,
        source_plans=plan.source_plans,
        device=ready.device,
        device_reason=ready.device_reason,
        num_gpus=request.num_gpus or 1,
        folders=ready.files.folders,
        stages=tuple(plan.stages),
        engine=ready.engine,
        slurm=ready.options,
        host=host_name(),
        versions=installed(ready.settings.nnunet_python).versions,
        notes=(*ready.notes, *plan.notes),
    )
    return record, plan.targets


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
    return f"It runs in the background. Follow it with nnunet_progress(run_id='{run_id}', wait_s=25)."

"""nnunet_training: check, plan, record, start, and answer at once; and the same start for runs of other kinds."""

from collections.abc import Iterable

from ...calls import call
from ...errors import RunError
from ...nnunet.installed import installed
from ...runs.engines import verdict
from ...runs.layout import RunDir, StateDir
from ...runs.requests import AskedAs
from ...runs.status import STARTING
from ...runs.store import new_record, record_run, run_of_request
from ...schemas.jobs import TrainingJob
from ...schemas.progress import StageLine
from ...schemas.records import ACTIVE, RunRecord
from ...schemas.run_list import RunStarted, TrainingStarted
from ...schemas.training import TrainingCall, TrainingRequest
from ...settings import Settings
from ..following.start import start
from ..watching.resuming import resumes_from
from ..watching.snapshot import RunSnapshot
from .checks import Preparation, prepare

FIRST_LOOK_S = 5


def nnunet_training(request: TrainingRequest, settings: Settings) -> TrainingStarted:
    """Start a training in the background.

    Raises:
        RunError: it cannot start; the message says what to do. Nothing was changed.
    """
    run, record, new = prepare_run(request, settings)
    goes_on = new and any(spec.resume for spec in record.stages)
    told = resumes_from(RunSnapshot.of(run, record, settings)) if goes_on else []  # before it saves a next checkpoint
    # A server that was killed between the record and the start left a run that nobody has started.
    if new or not run.engine_file.exists():
        start(run, record, settings)
    return describe_run(run, record, told, repeated=not new)


def prepare_run(request: TrainingRequest, settings: Settings) -> tuple[RunDir, RunRecord, bool]:
    """Check everything, then record the run; returns whether it is new. One that the same request_id has started is not
    checked again: its own model would be in the way."""
    state = StateDir.of(settings)
    asked = _asked_as(request)
    if asked is not None and (before := run_of_request(state, asked)) is not None:
        return *before, False
    settings.create_folders()
    ready = prepare(request, settings, ahead=False, on_problem=_stop)
    record, plan = record_of(ready), ready.plan
    assert plan is not None and plan.folds is not None
    if plan.made.text:
        plan.made.write()
    run, new = record_run(
        state,
        record,
        plan.targets,
        repeat_window_s=settings.repeat_window_s,
        asked=asked,
        check=plan.folds.refuse_renewed_split,
    )
    return run, (record if new else run.record() or record), new


def _asked_as(request: TrainingRequest) -> AskedAs | None:
    if not isinstance(request, TrainingCall) or request.request_id is None:
        return None
    # Beside `like`, a default that is given counts, because it is not the earlier run's.
    counts = request.like is not None
    arguments = request.model_dump(
        mode="json", exclude={"request_id"}, exclude_unset=counts, exclude_defaults=not counts
    )
    return AskedAs(request.request_id, arguments)


def _stop(problem: RunError) -> None:
    raise problem


def record_of(ready: Preparation) -> RunRecord:
    """The record of a run for which everything was found out."""
    plan, files, device = ready.plan, ready.files, ready.device
    assert plan is not None and files is not None and device is not None
    job = TrainingJob(
        request=ready.request,
        trainer=plan.trainer,
        plans_identifier=plan.plans_identifier,
        planner=plan.planner,
        source_plans=plan.source_plans,
    )
    return new_record(
        job,
        plan.stages,
        dataset_name=files.name,
        folders=files.folders,
        versions=installed(ready.settings.nnunet_python).versions,
        device=(device, ready.device_reason),
        engine=(ready.engine, ready.options),
        notes=(*ready.notes, *plan.notes),
    )


def describe_run(
    run: RunDir, record: RunRecord, told: Iterable[str] = (), *, repeated: bool = False
) -> TrainingStarted:
    """The answer about a run that was started; `told` goes into its notes."""
    judged = verdict(run, record)
    again = ("This request was made before; this is the run that it started.",) if repeated else ()
    active, look = judged.status in ACTIVE, call("nnunet_progress", run_id=record.run_id)
    waits = (judged.reason,) if judged.reason not in ("", STARTING) else ()
    return TrainingStarted(
        run_id=record.run_id,
        status=judged.status,
        dataset_id=record.job.dataset_id,
        dataset_name=record.dataset_name,
        configuration=record.job.configuration,
        fold=record.fold_or_kind,
        device=record.device,
        device_reason=record.device_reason,
        stages=tuple(
            StageLine(name=spec.name, status=judged.stages[spec.name], detail=spec.detail) for spec in record.stages
        ),
        notes=(*record.notes, *told, *again, *waits),
        retry_after_s=FIRST_LOOK_S if active else 0,
        next_step=follow(record.run_id) if active else f"It has ended: {look}.",
    )


def follow(run_id: str) -> str:
    """What to do once a run is started."""
    return f"It runs in the background. Follow it with {call('nnunet_progress', run_id=run_id, wait_s=25)}."


def start_recorded(record: RunRecord, targets: list[str], settings: Settings) -> RunStarted:
    """Start a run of another kind, or find the one that the same request started a moment ago.

    Raises:
        RunError: another run writes one of the targets, or it cannot be started.
    """
    run, new = record_run(StateDir.of(settings), record, targets, repeat_window_s=settings.repeat_window_s)
    if new:
        start(run, record, settings)
    return RunStarted(
        run_id=run.run_id,
        status=verdict(run, run.record() or record).status,
        notes=record.notes,
        retry_after_s=FIRST_LOOK_S,
        next_step=follow(run.run_id),
    )

"""nnunet_preflight: what would happen if this training were started now. Nothing is started or changed."""

from typing import Literal

from ...calls import argument, call
from ...errors import Refused, RunError, Unavailable
from ...nnunet.datasets import DEFAULT_PLANS, DEFAULT_TRAINER, DatasetFiles
from ...nnunet.preprocessed import planned
from ...nnunet.variants.known import choices
from ...nnunet.variants.patches import patch_of
from ...runs.engine import Engine, Preview
from ...runs.engines import engine_of, is_on, verdict
from ...runs.gpu_memory import with_margin
from ...runs.layout import StateDir
from ...runs.store import newest_runs
from ...schemas.changes.table import of_plans, read_changes
from ...schemas.preflight import (
    ConfigurationAhead,
    Estimate,
    EstimateJob,
    Hours,
    NetworkCost,
    PlanAhead,
    PreflightAnswer,
    PreflightRequest,
    Room,
)
from ...schemas.progress import StageLine
from ...schemas.records import HIGHEST_RATE, USUAL_RATE, RunRecord
from ...schemas.training import Device, TrainingRequest
from ...settings import Settings
from ..helping import told
from ..machine_checks import GB, free_gb
from .checks import Preparation, prepare
from .costs import (
    StillMeasuring,
    check_own_trainer,
    estimate_network,
    expect_hours,
    in_other_precision,
    is_asked_now,
    kept_estimate,
)
from .planning import Plan
from .plans_ahead import in_words
from .recommendation import preset_notes, recommend
from .training import record_of

MEASURE_S = 20.0
RUNS_LOOKED_AT = 200


def nnunet_preflight(request: PreflightRequest, settings: Settings) -> PreflightAnswer:
    """Check everything that nnunet_training checks, and say what it would cost."""
    problems: list[str] = []
    prepared = prepare(
        request.training(), settings, ahead=True, on_problem=lambda problem: problems.append(told(problem))
    )
    record = _record(prepared)
    preview = _preview(prepared, record, settings)
    network, pending = _network(prepared, record, settings, measure=request.measure)
    hours, unknown = expect_hours(record, network, settings) if record else (None, [])
    other = _in_other_precision(prepared, record, network, settings)
    return PreflightAnswer(
        possible=not problems,
        problems=tuple(problems),
        dataset_name=prepared.files.name if prepared.files else None,
        device=prepared.device,
        device_reason=prepared.device_reason,
        stages=tuple(_stages(prepared)),
        disk=tuple(_disk(prepared)),
        network=_cost(network or _network_ahead(prepared), record, settings),
        plans_ahead=in_words(prepared.ahead_of_plans) if prepared.ahead_of_plans else {},
        hours=hours,
        hours_other_precision=other,
        queue=(*preview.queue, *_others_queued(prepared.engine, settings)),
        job_scripts=preview.scripts,
        recommended=recommend(prepared.files, prepared.ahead_of_plans) if prepared.files else None,
        choices=_choices(request, settings),
        notes=(
            *prepared.notes,
            *(prepared.plan.notes if prepared.plan else ()),
            *unknown,
            *preset_notes(prepared.request, prepared.files),
            *([] if other else _bf16_notes(prepared.request, prepared.device, prepared.engine)),
        ),
        next_step=_next_step(request, problems, hours, pending=pending),
    )


def _in_other_precision(
    prepared: Preparation, record: RunRecord | None, network: Estimate | None, settings: Settings
) -> Hours | None:
    if record is None or prepared.device != "cpu" or not prepared.engine.cpu_has_bf16():
        return None
    return in_other_precision(record, network, settings)


def _bf16_notes(request: TrainingRequest, device: Device | None, engine: Engine) -> list[str]:
    """What a training on the engine's CPU could gain; measured, docs/benchmarks.md."""
    if device != "cpu" or request.bf16 or not engine.cpu_has_bf16():
        return []
    return [
        f"This CPU has bfloat16: with {argument(bf16=True)} an epoch takes about half the time, in mixed precision."
    ]


def _record(prepared: Preparation) -> RunRecord | None:
    """The record that the training would have; None where a check left something unknown."""
    if prepared.files is None or prepared.plan is None or prepared.device is None:
        return None
    return record_of(prepared)


def _preview(prepared: Preparation, record: RunRecord | None, settings: Settings) -> Preview:
    if record is None:
        return Preview()
    try:
        found = prepared.engine.preview(record, settings)
    except RunError as error:
        prepared.on_problem(error)
        return Preview()
    prepared.notice(map(Refused, found.problems))
    return found


def _stages(prepared: Preparation) -> list[StageLine]:
    specs = prepared.plan.stages if prepared.plan else []
    return [StageLine(name=s.name, status="success" if s.reused else "queued", detail=s.detail) for s in specs]


def _disk(prepared: Preparation) -> list[Room]:
    sizes = {folder: size for folder, size in prepared.room.items() if size}
    return [Room(folder=str(f), needed_gb=round(size / GB, 2), free_gb=free_gb(f)) for f, size in sizes.items()]


def _choices(request: PreflightRequest, settings: Settings) -> tuple[str, ...]:
    """What there is to choose from, where it is asked; the many trainers only when they are asked for."""
    lines = choices(settings.nnunet_python, request.asks) if request.asks else []
    if "" in request.asks:
        every = call("nnunet_preflight", dataset_id=request.dataset_id, changes=["trainer=?"])
        lines.append(f"trainer: {every} lists nnU-Net's and yours")
    return tuple(lines)


def _network(
    prepared: Preparation, record: RunRecord | None, settings: Settings, *, measure: bool
) -> tuple[Estimate | None, bool]:
    """What nnU-Net says of the planned network, and whether that is still measured.

    Where nnU-Net cannot say it, a note says why, and everything else still counts.
    """
    files, plan = prepared.files, prepared.plan
    if files is None or plan is None or prepared.device is None or record is None:
        return None, False
    plans = files.plans(plan.plans_identifier)
    unplanned = plans is None or planned(plans, prepared.request.configuration) is None
    if unplanned and not (plans is None and _plan_ahead(prepared, files, plan)):
        prepared.notes += ["Nothing was measured: there are no plans yet. The first run makes them."] * measure
        _check_trainer(prepared, files, plan, settings)
        return None, False
    try:
        found = _look_at(prepared, record, files, plan, settings, measure=measure)
    except Unavailable as error:
        pending = isinstance(error, StillMeasuring)
        begin = f"Nothing was measured{' yet' if pending else ''}" if measure else "The network is not known"
        prepared.notes.append(f"{begin}. {error}")
        return _without_measuring(prepared, files, plan, settings) if measure else None, pending
    except Refused as error:
        prepared.on_problem(error)
        return None, False
    _notice(prepared, plan, found)
    return found, False


def _check_trainer(prepared: Preparation, files: DatasetFiles, plan: Plan, settings: Settings) -> None:
    base = {"plans_file": "", "made_trainer": "", "trainer": prepared.request.trainer or DEFAULT_TRAINER}
    job = _estimate_job(prepared, files, plan, "cpu", None).model_copy(update=base)
    try:
        found = check_own_trainer(job, settings)
    except Refused as error:
        prepared.on_problem(error)
        return
    if found is not None and not prepared.request.changes:
        prepared.notes.append(_trainer_line(plan.trainer, found))


def _look_at(
    prepared: Preparation, record: RunRecord, files: DatasetFiles, plan: Plan, settings: Settings, *, measure: bool
) -> Estimate:
    """What was measured before, or what nnU-Net's Python says now; it measures on a device that it holds."""
    assert prepared.device is not None
    measuring = _estimate_job(prepared, files, plan, prepared.device, MEASURE_S)
    if prepared.engine.is_here and (before := kept_estimate(measuring, settings)):
        return before
    if measure and prepared.engine.is_here and is_asked_now(measuring, settings):
        return estimate_network(measuring, settings)  # the process that an earlier call started holds the device
    held = prepared.engine.hold_device(record, settings) if measure else ""
    if isinstance(held, str):
        prepared.notes += [f"Nothing was measured: {held}."] * measure
        return estimate_network(_estimate_job(prepared, files, plan, "cpu", None), settings)
    try:
        return estimate_network(measuring, settings, held)
    finally:
        held.release()


def _trainer_line(trainer: str, found: Estimate) -> str:
    """What a trainer does that is not the default's, and whether it can go well."""
    line = f"{trainer}: {found.epochs} epochs of {found.iterations} iterations"
    if found.initial_lr is None:
        return f"{line}."
    line += f", learning rate {found.initial_lr:g}"
    return f"{line}; nnU-Net's is {USUAL_RATE}, so it will diverge." if found.initial_lr > HIGHEST_RATE else f"{line}."


def _notice(prepared: Preparation, plan: Plan, found: Estimate) -> None:
    if plan.trainer != DEFAULT_TRAINER:
        prepared.notes.append(_trainer_line(plan.trainer, found))
    if found.out_of_memory:
        problem = (
            f"The GPU has too little free memory for this network ({found.out_of_memory}). Free it of other processes, "
            f"or choose {argument(configuration='2d')} or a smaller preset."
        )
        prepared.notice([Refused(problem)])
    asked = patch_of(read_changes(prepared.request.changes))
    if asked and asked != list(found.patch_size):
        fits = "x".join(map(str, found.patch_size))
        prepared.on_problem(Refused(f"patch_size: the network's poolings do not divide it. {fits} would fit."))
    prepared.notes += [found.note] if found.note else []


def _without_measuring(prepared: Preparation, files: DatasetFiles, plan: Plan, settings: Settings) -> Estimate | None:
    """What was found out about the network before; nothing is waited for."""
    return kept_estimate(_estimate_job(prepared, files, plan, "cpu", None), settings)


def _estimate_job(
    prepared: Preparation, files: DatasetFiles, plan: Plan, device: Device, measure_s: float | None
) -> EstimateJob:
    copied, raw = files.preprocessed / "dataset.json", files.raw / "dataset.json"
    return EstimateJob(
        plans_file=str(files.plans_file(plan.plans_identifier)),
        dataset_json=str(copied if copied.is_file() else raw),
        configuration=prepared.request.configuration,
        trainer=plan.trainer,
        made_trainer=plan.made.text,
        plan_ahead=_plan_ahead(prepared, files, plan),
        device=device,
        bf16=prepared.request.bf16 and bool(measure_s),
        both=bool(measure_s) and device == "cpu" and bool(prepared.engine.cpu_has_bf16()),
        measure_s=measure_s,
    )


def _network_ahead(prepared: Preparation) -> ConfigurationAhead | None:
    """The network that nnU-Net will plan for this request."""
    ahead, plan = prepared.ahead_of_plans, prepared.plan
    if ahead is None or plan is None:
        return None
    return ahead.plans.get(plan.plans_identifier, {}).get(prepared.request.configuration)


def _plan_ahead(prepared: Preparation, files: DatasetFiles, plan: Plan) -> PlanAhead | None:
    """What changed plans are made from, where they are not there yet and the images were looked at before."""
    changes = of_plans(read_changes(prepared.request.changes))
    there = files.plans_file(plan.plans_identifier).is_file() or not files.fingerprint_file.is_file()
    if not changes or plan.planner is None or there:
        return None
    return PlanAhead(
        raw=files.folders.raw,
        fingerprint=str(files.fingerprint_file),
        dataset_name=files.name,
        planner=plan.planner,
        base=prepared.request.plans_identifier or DEFAULT_PLANS,
        changes=changes,
    )


def _cost(
    network: Estimate | ConfigurationAhead | None, record: RunRecord | None, settings: Settings
) -> NetworkCost | None:
    if network is None or record is None:
        return None
    memory = engine_of(record).gpu_memory_gb(record, settings) if record.device == "cuda" else None
    fit = how_it_fits(network.gpu_memory_gb, memory)
    return NetworkCost(
        patch_size=network.patch_size,
        batch_size=network.batch_size,
        parameters=network.parameters,
        gpu_memory_gb=network.gpu_memory_gb,
        measured_gpu_memory_gb=network.peak_gb if isinstance(network, Estimate) else None,
        device_memory_gb=memory,
        fits=fit == "fits" if fit else None,
        fit=fit,
    )


def how_it_fits(planned: float, memory: float | None) -> Literal["fits", "tight", "no"] | None:
    """Whether a training fits that nnU-Net plans to take so much; null where the memory is not known."""
    if memory is None:
        return None
    return "fits" if with_margin(planned) <= memory else "tight" if planned <= memory else "no"


def _others_queued(engine: Engine, settings: Settings) -> list[str]:
    """Of this engine's runs, as the state folder has them."""
    state = StateDir.of(settings)
    found = ((run, run.record()) for run in newest_runs(state, limit=RUNS_LOOKED_AT))
    own = [(run, record) for run, record in found if record is not None and is_on(record, engine)]
    waiting = sum(verdict(run, record).status == "queued" for run, record in own)
    return [f"{waiting} other runs are queued"] if waiting else []


def _next_step(request: PreflightRequest, problems: list[str], hours: Hours | None, *, pending: bool) -> str:
    same = request.training().model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if problems:
        return f"Solve the problems, then ask again: {call('nnunet_preflight', **same)}."
    if pending:
        return "Nothing is started. The measuring goes on: the same call has the hours in a minute or two."
    cost = f"about {hours.expected:g} h ({hours.low:g} to {hours.high:g})" if hours else "an unknown time"
    return f"Nothing is started. Ask the person whether to spend {cost}: {call('nnunet_training', **same)} starts it."

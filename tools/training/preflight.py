"""nnunet_preflight: what would happen if this training were started now. Nothing is started or changed."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from ...calls import argument, call
from ...errors import RunError, Unavailable
from ...nnunet.datasets import DatasetFiles
from ...nnunet.installed import installed
from ...nnunet.preprocessed import planned
from ...runs.evidence import verdict
from ...runs.layout import StateDir
from ...runs.local.places import find_places, slot_kind, with_margin
from ...runs.local.slots import Grant, SlotQueue, slot_holder
from ...runs.machine.disk import refuse_without_room
from ...runs.store import active_on, newest_runs
from ...schemas.estimates import Estimate, EstimateJob
from ...schemas.preflight import NetworkCost, PreflightAnswer, PreflightRequest, Room
from ...schemas.progress import StageLine
from ...schemas.records import RunRecord
from ...schemas.slurm import Engine
from ...schemas.training import Device, TrainingRequest
from ...settings import Settings
from ..data.datasets import ready_to_train
from ..helping import told
from ..machine_checks import GB, free_gb, shm_problems
from .costs import estimate_network, expect_hours
from .device import bf16_notes, check_bf16, choose_device, choose_engine, slurm_notes
from .planning import Plan, Planner
from .recommendation import preset_notes, recommend
from .repeating import complete
from .slurm_preview import Preview, preview_jobs
from .training import make_record, refuse_what_a_look_has_shown, resolve_weights, room_for

T = TypeVar("T")
MEASURE_S = 30.0
RUNS_LOOKED_AT = 200


@dataclass
class Look:
    """What was found; a part that could not be looked at is missing."""

    request: TrainingRequest
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    engine: Engine = "local"
    options: dict[str, str] = field(default_factory=dict)
    device: Device | None = None
    device_reason: str = ""
    files: DatasetFiles | None = None
    plan: Plan | None = None
    room: dict[Path, float] = field(default_factory=dict)

    def attempt(self, act: Callable[[], T]) -> T | None:
        """The result, or None and one problem more."""
        try:
            return act()
        except RunError as error:
            self.problems.append(told(error))
            return None


def nnunet_preflight(request: PreflightRequest, settings: Settings) -> PreflightAnswer:
    """Check everything that nnunet_training checks, and say what it would cost."""
    look = _look(request.training(), settings)
    record = _record(look, settings)
    jobs = _jobs(look, record, settings)
    network = _network(look, record, settings, measure=request.measure)
    hours, unknown = expect_hours(record, network, settings) if record else (None, [])
    return PreflightAnswer(
        possible=not look.problems,
        problems=tuple(look.problems),
        dataset_name=look.files.name if look.files else None,
        device=look.device,
        device_reason=look.device_reason,
        stages=tuple(_stages(look)),
        disk=tuple(_disk(look)),
        network=_cost(network, record, settings),
        hours=hours,
        queue=tuple(_queue(look, record, settings)) if look.engine == "local" else jobs.said,
        job_scripts=jobs.scripts,
        recommended=recommend(look.files) if look.files else None,
        notes=(
            *look.notes,
            *unknown,
            *preset_notes(look.request, look.files),
            *bf16_notes(look.request, look.device, look.engine),
            *slurm_notes(look.engine, look.device, look.options, settings),
        ),
        next_step=_next_step(look, measure=request.measure),
    )


def _look(request: TrainingRequest, settings: Settings) -> Look:
    look = Look(request)
    asked, look.notes = look.attempt(lambda: complete(request, settings)) or (request, [])
    look.engine, look.options = look.attempt(lambda: choose_engine(asked, settings)) or (settings.engine, {})
    look.device, look.device_reason = look.attempt(
        lambda: choose_device(asked.device, settings, num_gpus=asked.num_gpus, engine=look.engine)
    ) or (None, "")
    if (device := look.device) is not None:
        look.attempt(lambda: check_bf16(asked, device, look.engine))
    look.problems += shm_problems(device, look.engine)
    look.request = look.attempt(lambda: resolve_weights(asked, settings)) or asked
    ready = look.attempt(lambda: ready_to_train(settings, asked.dataset_id, make_twin=False))
    if ready is None:
        return look
    files, notes = ready
    look.files = files
    plan = look.attempt(lambda: Planner(look.request, files, settings.nnunet_python).make())
    if plan is not None:
        look.plan, look.notes, look.room = plan, [*look.notes, *notes, *plan.notes], room_for(files, plan)
        look.attempt(lambda: refuse_what_a_look_has_shown(look.request, plan, settings))
        if all(os.path.isdir(folder) for folder in (files.folders.results, files.folders.preprocessed)):  # noqa: PTH112
            look.attempt(lambda: refuse_without_room(look.room))
        look.problems += map(told, active_on(StateDir(settings.state_dir), plan.targets))
    return look


def _record(look: Look, settings: Settings) -> RunRecord | None:
    if look.files is None or look.plan is None or look.device is None:
        return None
    versions = installed(settings.nnunet_python).versions
    device = (look.device, look.device_reason)
    return make_record(
        look.request, look.files, look.plan, device, versions, [], engine=look.engine, slurm=look.options
    )


def _jobs(look: Look, record: RunRecord | None, settings: Settings) -> Preview:
    if record is None or record.engine != "slurm":
        return Preview()
    found = look.attempt(lambda: preview_jobs(record, settings)) or Preview()
    look.problems += found.problems
    return found


def _stages(look: Look) -> list[StageLine]:
    specs = look.plan.stages if look.plan else []
    return [StageLine(name=s.name, status="success" if s.reused else "queued", detail=s.detail) for s in specs]


def _disk(look: Look) -> list[Room]:
    sizes = {folder: size for folder, size in look.room.items() if size}
    return [Room(folder=str(f), needed_gb=round(size / GB, 2), free_gb=free_gb(f)) for f, size in sizes.items()]


def _network(look: Look, record: RunRecord | None, settings: Settings, *, measure: bool) -> Estimate | None:
    """What nnU-Net says of the planned network; where it cannot, a note says why, and everything else still counts."""
    if measure and look.engine == "slurm":
        look.notes.append("Nothing was measured: this machine is not the cluster's node that would train.")
    files, plan, device = look.files, look.plan, look.device
    if files is None or plan is None or device is None or record is None:
        return None
    configuration, measured = look.request.configuration, MEASURE_S if measure and look.engine == "local" else None
    plans = files.plans(plan.plans_identifier)
    if plans is None or planned(plans, configuration) is None:
        look.notes += ["Nothing was measured: there are no plans yet. The first run makes them."] * bool(measured)
        return None
    held = _held(record, settings) if measured and device == "cuda" else Grant([], [])
    if isinstance(held, str):
        look.notes.append(f"Nothing was measured: {held}.")
        held, measured = Grant([], []), None
    try:
        job = _estimate_job(look.request, files, plan, device if measured else "cpu", measured)
        found = estimate_network(job, settings, held.variables())
    except Unavailable as error:
        look.notes.append(f"The network is not known. {told(error)}")
        return None
    finally:
        held.release()
    if found.out_of_memory:
        look.problems.append(
            f"The GPU has too little free memory for this network ({found.out_of_memory}). Free it of other "
            f"processes, or choose {argument(configuration='2d')} or a smaller preset."
        )
    look.notes += [found.note] if found.note else []
    return found


def _held(record: RunRecord, settings: Settings) -> Grant | str:
    """The GPU that the run would get, behind everybody who waits for one, or why there is none now."""
    state = StateDir(settings.state_dir)
    places, why = find_places("gpu", state, settings, record=record)
    queue = SlotQueue(state, "gpu", places, "preflight", created_at=time.time(), stage="measure", why_none=why)
    try:
        answer = queue.try_acquire(1)
        return answer.removeprefix("waits for a slot: ") if isinstance(answer, str) else answer
    except OSError as error:
        return f"cannot take a slot: {error}"
    finally:
        queue.withdraw()


def _estimate_job(
    request: TrainingRequest, files: DatasetFiles, plan: Plan, device: Device, measure_s: float | None
) -> EstimateJob:
    return EstimateJob(
        plans_file=str(files.plans_file(plan.plans_identifier)),
        dataset_json=str(files.preprocessed / "dataset.json"),
        configuration=request.configuration,
        trainer=plan.trainer,
        device=device,
        bf16=request.bf16,
        measure_s=measure_s,
    )


def _cost(network: Estimate | None, record: RunRecord | None, settings: Settings) -> NetworkCost | None:
    if network is None or record is None:
        return None
    memory = _memory_gb(record, settings) if record.device == "cuda" and record.engine == "local" else None
    fit = how_it_fits(network.gpu_memory_gb, memory)
    return NetworkCost(
        patch_size=network.patch_size,
        batch_size=network.batch_size,
        parameters=network.parameters,
        gpu_memory_gb=network.gpu_memory_gb,
        measured_gpu_memory_gb=network.peak_gb,
        device_memory_gb=memory,
        fits=fit == "fits" if fit else None,
        fit=fit,
    )


def _memory_gb(record: RunRecord, settings: Settings) -> float | None:
    """What is free on the GPU that the run would get, or all of it if it has to wait for that; null if not known."""
    places, _ = find_places("gpu", StateDir(settings.state_dir), settings, record=record)
    free = [place.gpu.free_gb for place in places if place.gpu and slot_holder(place) is None]
    all_of_it = [place.gpu.total_gb for place in places if place.gpu]
    memory = next(iter(free or all_of_it), None)
    return None if memory is None else round(memory, 1)


def how_it_fits(planned: float, memory: float | None) -> Literal["fits", "tight", "no"] | None:
    """Whether a training fits that nnU-Net plans to take so much; null where the memory is not known."""
    if memory is None:
        return None
    return "fits" if with_margin(planned) <= memory else "tight" if planned <= memory else "no"


def _queue(look: Look, record: RunRecord | None, settings: Settings) -> list[str]:
    todo = [spec for spec in look.plan.stages if not spec.reused] if look.plan else []
    kinds = dict.fromkeys(slot_kind(spec.kind, str(look.device)) for spec in todo)
    state = StateDir(settings.state_dir)
    held = [
        f"{kind} slot {place.title} is held by {holder}"
        for kind in kinds
        if kind is not None
        for place in find_places(kind, state, settings, record=record)[0]
        if (holder := slot_holder(place))
    ]
    waiting = sum(_is_queued(run.record(), state) for run in newest_runs(state, limit=RUNS_LOOKED_AT))
    return [*held, f"{waiting} other runs are queued"] if waiting else held


def _is_queued(record: RunRecord | None, state: StateDir) -> bool:
    if record is None or record.engine != "local":
        return False
    return verdict(state.run(record.run_id), record).status == "queued"


def _next_step(look: Look, *, measure: bool) -> str:
    if look.problems:
        return "Solve the problems, then ask again."
    return f"Start it with {call('nnunet_training')} and the same arguments{' without measure' if measure else ''}."

"""nnunet_preflight: what would happen if this training were started now. Nothing is started or changed."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from ...errors import RunError, Unavailable
from ...nnunet.datasets import DatasetFiles
from ...nnunet.installed import installed
from ...nnunet.preprocessed import planned
from ...runs.engine import Engine, Preview
from ...runs.engines import engine_named, engine_of, verdict
from ...runs.layout import StateDir
from ...runs.local.places import with_margin
from ...runs.machine.disk import refuse_without_room
from ...runs.stage_process import Grant
from ...runs.store import active_on, newest_runs
from ...schemas.estimates import Estimate, EstimateJob
from ...schemas.preflight import NetworkCost, PreflightAnswer, PreflightRequest, Room
from ...schemas.progress import StageLine
from ...schemas.records import RunRecord
from ...schemas.training import Device, TrainingRequest
from ...settings import Settings
from ..data.datasets import ready_to_train
from ..machine_checks import GB, free_gb
from .costs import estimate_network, expect_hours
from .device import bf16_notes, check_bf16
from .planning import Plan, Planner
from .recommendation import preset_notes, recommend
from .repeating import complete
from .training import make_record, refuse_what_a_look_has_shown, resolve_weights, room_for

T = TypeVar("T")
MEASURE_S = 30.0
RUNS_LOOKED_AT = 200


@dataclass
class Look:
    """What was found; a part that could not be looked at is missing."""

    request: TrainingRequest
    engine: Engine
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
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
            self.problems.append(str(error))
            return None


def nnunet_preflight(request: PreflightRequest, settings: Settings) -> PreflightAnswer:
    """Check everything that nnunet_training checks, and say what it would cost."""
    look = _look(request.training(), settings)
    record = _record(look, settings)
    preview = _preview(look, record, settings)
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
        queue=(*preview.queue, *_others_queued(look.engine, settings)),
        job_scripts=preview.scripts,
        recommended=recommend(look.files) if look.files else None,
        notes=(
            *look.notes,
            *unknown,
            *preset_notes(look.request, look.files),
            *bf16_notes(look.request, look.device, look.engine),
            *look.engine.notes(look.device, look.options, settings),
        ),
        next_step=_next_step(look, measure=request.measure),
    )


def _look(request: TrainingRequest, settings: Settings) -> Look:
    look = Look(request, engine_named(settings.engine))
    asked, look.notes = look.attempt(lambda: complete(request, settings)) or (request, [])
    look.engine = engine_named(asked.engine or settings.engine)
    look.options = look.attempt(lambda: look.engine.options(asked.slurm, settings)) or {}
    look.device, look.device_reason = look.attempt(
        lambda: look.engine.device(asked.device, settings, num_gpus=asked.num_gpus)
    ) or (None, "")
    if (device := look.device) is not None:
        look.attempt(lambda: check_bf16(asked, device, look.engine))
    look.problems += look.engine.problems(device)
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
        look.problems += active_on(StateDir(settings.state_dir), plan.targets)
    return look


def _record(look: Look, settings: Settings) -> RunRecord | None:
    if look.files is None or look.plan is None or look.device is None:
        return None
    versions = installed(settings.nnunet_python).versions
    device = (look.device, look.device_reason)
    return make_record(look.request, look.files, look.plan, device, versions, [], (look.engine, look.options))


def _preview(look: Look, record: RunRecord | None, settings: Settings) -> Preview:
    if record is None:
        return Preview()
    found = look.attempt(lambda: look.engine.preview(record, settings)) or Preview()
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
    files, plan, device = look.files, look.plan, look.device
    if files is None or plan is None or device is None or record is None:
        return None
    configuration, measured = look.request.configuration, MEASURE_S if measure else None
    plans = files.plans(plan.plans_identifier)
    if plans is None or planned(plans, configuration) is None:
        look.notes += ["Nothing was measured: there are no plans yet. The first run makes them."] * bool(measured)
        return None
    held = look.engine.hold_device(record, settings) if measured else Grant([], [])
    if isinstance(held, str):
        look.notes.append(f"Nothing was measured: {held}.")
        held, measured = Grant([], []), None
    try:
        job = _estimate_job(look.request, files, plan, device if measured else "cpu", measured)
        found = estimate_network(job, settings, held.variables())
    except Unavailable as error:
        look.notes.append(f"The network is not known. {error}")
        return None
    finally:
        held.release()
    if found.out_of_memory:
        look.problems.append(
            f"The GPU has too little free memory for this network ({found.out_of_memory}). Free it of other processes, "
            "or choose configuration='2d' or a smaller preset."
        )
    look.notes += [found.note] if found.note else []
    return found


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
    memory = engine_of(record).gpu_memory_gb(record, settings) if record.device == "cuda" else None
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


def how_it_fits(planned: float, memory: float | None) -> Literal["fits", "tight", "no"] | None:
    """Whether a training fits that nnU-Net plans to take so much; null where the memory is not known."""
    if memory is None:
        return None
    return "fits" if with_margin(planned) <= memory else "tight" if planned <= memory else "no"


def _others_queued(engine: Engine, settings: Settings) -> list[str]:
    """Of this engine's runs, as the state folder has them."""
    state = StateDir(settings.state_dir)
    found = ((run, run.record()) for run in newest_runs(state, limit=RUNS_LOOKED_AT))
    own = [(run, record) for run, record in found if record is not None and record.engine == engine.name]
    waiting = sum(verdict(run, record).status == "queued" for run, record in own)
    return [f"{waiting} other runs are queued"] if waiting else []


def _next_step(look: Look, *, measure: bool) -> str:
    if look.problems:
        return "Solve the problems, then ask again."
    return f"Start it with nnunet_training and the same arguments{' without measure' if measure else ''}."

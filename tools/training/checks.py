"""What is checked before a training starts, in order: one list for nnunet_training and nnunet_preflight.

A training stops at the first problem; preflight collects them all and goes on with what can still be checked.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...allowed_paths import allowed_path
from ...calls import argument
from ...errors import Refused, RunError, Unavailable
from ...nnunet.datasets import DEFAULT_PLANS, DatasetFiles
from ...nnunet.preprocessed import CASCADE, LOWRES, planned
from ...runs.engine import Engine
from ...runs.engines import engine_named, is_on
from ...runs.layout import StateDir
from ...runs.machine.disk import refuse_without_room, room_needed
from ...runs.store import active_on, run_to_follow
from ...schemas.changes.table import of_plans, read_changes, written
from ...schemas.preflight import PlannersAhead, PlansAhead
from ...schemas.training import Device, TrainingCall, TrainingRequest
from ...settings import Settings
from ..data.ready import known_damage, ready_to_train
from .planning import Plan, Planner
from .plans_ahead import PRESETS, look_ahead, refuse_left_out
from .repeating import repeated

OnProblem = Callable[[RunError], None]


@dataclass
class Preparation:
    """What is known of a training that has not begun; a part that could not be found out is missing."""

    request: TrainingRequest
    settings: Settings
    engine: Engine
    ahead: bool  # only looks: makes no folder, and says what would stand in the way now
    on_problem: OnProblem
    options: dict[str, str] = field(default_factory=dict)
    device: Device | None = None
    device_reason: str = ""
    files: DatasetFiles | None = None
    plan: Plan | None = None
    ahead_of_plans: PlansAhead | None = None  # what nnU-Net will plan, where there are no plans yet
    room: dict[Path, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def notice(self, problems: Iterable[RunError]) -> None:
        """Several problems of one check."""
        for problem in problems:
            self.on_problem(problem)


def prepare(request: TrainingRequest, settings: Settings, *, ahead: bool, on_problem: OnProblem) -> Preparation:
    """Go through all checks; what each finds wrong goes to `on_problem`, which may raise it."""
    found = Preparation(request, settings, engine_named(settings.engine), ahead, on_problem)
    for check in CHECKS:
        try:
            check(found)
        except RunError as error:
            on_problem(error)
    return found


def _like(found: Preparation) -> None:
    """The whole request: the arguments of the run that it is to be like, under those that are given."""
    asked = found.request
    given = asked.model_dump(exclude={"like", "request_id"}, exclude_unset=True)
    if isinstance(asked, TrainingCall) and asked.like is not None:
        found.request, note = repeated(asked.like, given, found.settings)
        found.notes.append(note)
    else:
        if asked.changes:
            given["changes"] = written(read_changes(asked.changes))  # "default" means something beside `like` only
        found.request = TrainingRequest.model_validate(given)


def _weights(found: Preparation) -> None:
    """Pretrained weights lie where tools may read; the request gets their absolute path."""
    if found.request.pretrained_weights is not None:
        path = allowed_path(found.settings, found.request.pretrained_weights, what="pretrained_weights")
        found.request = found.request.model_copy(update={"pretrained_weights": str(path)})


def _engine(found: Preparation) -> None:
    found.engine = engine_named(found.request.engine or found.settings.engine)
    found.options = found.engine.options(found.request.slurm, found.settings)


def _device(found: Preparation) -> None:
    """The device, and whether it can do what is asked of it."""
    request = found.request
    found.device, found.device_reason = found.engine.device(request.device, found.settings, num_gpus=request.num_gpus)
    if request.bf16:
        _refuse_useless_bf16(found.device, found.engine)


def _refuse_useless_bf16(device: Device, engine: Engine) -> None:
    """Mixed precision is a gain only on a CPU that computes it.

    Raises:
        Refused: the training would not run on a CPU.
        Unavailable: this machine's CPU has no bfloat16.
    """
    if device != "cpu":
        raise Refused(
            f"bf16 is for trainings on the CPU; this one runs on {device}. Use {argument(device='cpu')}, or "
            f"{argument(bf16=False)}."
        )
    if engine.cpu_has_bf16() is False:
        raise Unavailable(
            "bf16 needs a CPU with bfloat16 instructions (on Linux: avx512_bf16, amx_bf16 or bf16 in /proc/cpuinfo); "
            "this one has none and would take longer with it. Leave bf16 out."
        )


def _place(found: Preparation) -> None:
    """What most trainings there fail of, but not all: a problem before the start, a note in a run that begins."""
    said = found.engine.problems(found.device)
    if found.ahead:
        found.notice(map(Refused, said))
    else:
        found.notes += said


def _after(found: Preparation) -> None:
    """The run that it is to follow may still succeed, and its engine can wait for it."""
    if (after := found.request.after) is None:
        return
    record, succeeded = run_to_follow(StateDir.of(found.settings), after)
    if succeeded:
        found.notes.append(f"Run {after} has succeeded already, so nothing is waited for.")
    elif found.engine.follows_all or is_on(record, found.engine):
        found.notes.append(f"It starts when run {after} has succeeded.")
    else:
        raise Refused(
            f"Run {after} is no run of the same cluster, and Slurm starts nothing after it. Leave "
            f"{argument(after=None)} out, and start this one when {after} has succeeded."
        )


def _dataset(found: Preparation) -> None:
    goes_on = found.request.continue_training or found.request.validation_only
    found.files, notes = ready_to_train(
        found.settings, found.request.dataset_id, make_twin=not found.ahead, goes_on=goes_on
    )
    found.notes += notes


def _options(found: Preparation) -> None:
    """What would slow the training down with these options of its engine."""
    found.notes += found.engine.notes(found.device, found.options, found.settings)


def _plan(found: Preparation) -> None:
    """Which stages the training needs."""
    if found.files is None:
        return
    found.plan = Planner(found.request, found.files, found.settings.nnunet_python).make()
    found.room = _room(found.files, found.plan)


def _known_damage(found: Preparation) -> None:
    """Data that an earlier look has shown to be broken: refused, and where nobody wants them verified, said."""
    plan, request, settings = found.plan, found.request, found.settings
    preprocesses = plan and any(spec.traits.preprocesses and not spec.reused for spec in plan.stages)
    if not preprocesses or not (damage := known_damage(settings, request.dataset_id)):
        return
    if request.verify_dataset_integrity:
        raise Refused(damage)
    found.notes.append(f"It will fail, although {argument(verify_dataset_integrity=False)} starts it. {damage}")


def _left_out(found: Preparation) -> None:
    """A configuration that nnU-Net will not plan. A training looks at images only for a cascade: any 3D dataset has the
    others."""
    request, plan = found.request, found.plan
    if plan is None or found.files is None or not _will_be_planned(found, found.files, plan):
        return
    rare = request.configuration in (LOWRES, CASCADE)
    if not found.ahead and request.configuration == "2d":
        return
    ahead = look_ahead(request.dataset_id, _planners(request, plan), found.settings, look=found.ahead or rare)
    found.ahead_of_plans = ahead.plans
    if ahead.plans is not None:
        refuse_left_out(found.files.name, plan.plans_identifier, request.configuration, ahead.plans)
    elif rare or found.ahead:
        found.notes.append(f"Which configurations nnU-Net will plan is not known yet: {ahead.missing}")


def _planners(request: TrainingRequest, plan: Plan) -> PlannersAhead:
    """Every preset, as another may plan what the chosen one does not; or the planner of changed plans alone."""
    changes = of_plans(read_changes(request.changes)) if request.changes else {}
    if not changes or plan.planner is None:
        return PRESETS
    base = request.plans_identifier or DEFAULT_PLANS
    return PlannersAhead(planners={plan.plans_identifier: plan.planner}, base=base, changes=changes)


def _will_be_planned(found: Preparation, files: DatasetFiles, plan: Plan) -> bool:
    """Whether the run makes the plans of a preset, from raw data."""
    preprocesses = any(spec.traits.preprocesses and not spec.reused for spec in plan.stages)
    there = planned(files.plans(plan.plans_identifier) or {}, found.request.configuration)
    return preprocesses and plan.planner is not None and files.raw.is_dir() and there is None


def _disk(found: Preparation) -> None:
    """Room on the disks; a folder that is yet to be made tells nothing of its disk."""
    folders = found.settings.folders
    if not found.ahead or all(Path(folder).is_dir() for folder in (folders.results, folders.preprocessed)):
        refuse_without_room(found.room)


def _other_runs(found: Preparation) -> None:
    """Runs that write the same fold folders now; a training finds them out when it is recorded, under a lock."""
    if found.ahead and found.plan is not None:
        found.notice(active_on(StateDir.of(found.settings), found.plan.targets))


CHECKS = (
    _like,
    _weights,
    _engine,
    _device,
    _after,
    _dataset,
    _options,
    _place,
    _plan,
    _known_damage,
    _left_out,
    _disk,
    _other_runs,
)


def _room(files: DatasetFiles, plan: Plan) -> dict[Path, float]:
    """Bytes that a plan will write, by folder."""
    todo = [spec for spec in plan.stages if not spec.reused]
    return room_needed(
        files,
        preprocesses=any(spec.traits.preprocesses for spec in todo),
        folds=sum(spec.traits.trains for spec in todo),
    )

"""nnunet_system: what this machine has, who uses it, and what is wrong with it."""

from collections.abc import Iterator

from ..calls import call
from ..errors import Unavailable
from ..nnunet.installed import installed
from ..runs.layout import StateDir
from ..runs.local.places import find_places
from ..runs.local.slots import slot_holder
from ..runs.machine.capacity import usable_cores, usable_memory
from ..runs.machine.gpus import MACHINE
from ..runs.stage_process import SlotKind
from ..schemas.system import Slot, SystemAnswer, SystemRequest
from ..settings import Settings
from .following.targets import target_checks
from .machine_checks import FOLDERS, GB, free_gb, machine_checks

SLOT_KINDS: tuple[SlotKind, ...] = ("gpu", "cpu", "preprocess")


def nnunet_system(request: SystemRequest, settings: Settings) -> SystemAnswer:
    """Describe the machine; nothing is changed."""
    memory, taken = usable_memory(), tuple(slots(settings))
    problems = tuple(find_problems(settings))
    untold = (f"{check.detail} {check.fix}" for check in target_checks(settings) if check.level != "ok")
    return SystemAnswer(
        gpus=tuple(gpu.model for gpu in MACHINE.find(settings.nnunet_python).gpus),
        cpu_cores=usable_cores(),
        memory_gb=round(memory.total / GB, 1),
        memory_free_gb=round(memory.available / GB, 1),
        slots=taken,
        folders={name: str(settings.folder(name)) for name in FOLDERS},
        state_folder=str(settings.state_dir),
        disk_free_gb={name: free_gb(settings.folder(name)) for name in FOLDERS},
        versions=versions(settings),
        problems=(*problems, *untold),
        next_step="Solve the problems first."
        if problems
        else f"Ready: {call('nnunet_datasets')} shows what can be trained.",
    )


def versions(settings: Settings) -> dict[str, str]:
    """The versions of the packages that influence results, in nnU-Net's Python."""
    try:
        return installed(settings.nnunet_python).versions
    except Unavailable:  # the problems report it
        return {}


def slots(settings: Settings) -> Iterator[Slot]:
    """Every slot, and which run holds it."""
    state = StateDir.of(settings)
    for kind in SLOT_KINDS:
        for place in find_places(kind, state, settings)[0]:
            yield Slot(kind=kind, name=place.title, holder=slot_holder(place))


def find_problems(settings: Settings) -> Iterator[str]:
    """Everything that would make runs fail, each with what to do."""
    for check in machine_checks(settings):
        if check.level == "problem":
            yield f"{check.detail} {check.fix}"

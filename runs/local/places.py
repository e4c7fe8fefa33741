"""Where a stage can run on this host: on a GPU, on the CPU, or as the one stage that preprocesses.

Each place is a lock in the state folder. The lock of a GPU is named by its UUID, which is the same in every container.
A GPU also has a second lock, in a folder for the whole host, for runs of other users and other state folders: until a
worker's memory shows on the GPU, which takes up to a minute, only that lock tells that the GPU is taken. Any user can
hold it, as any two users must be able to avoid each other. So that nobody can block a GPU with it, it counts for only
some minutes while the GPU stays empty (`slots.py`).
"""

from dataclasses import dataclass
from pathlib import Path

from ...liveness import host_name
from ...locks import lock_name
from ...schemas.gpus import FoundGpus, Gpu
from ...schemas.records import RunRecord, StageSpec
from ...settings import Settings, absolute
from ..gpu_memory import Need, need_of, planned_need
from ..layout import StateDir
from ..machine.gpus import MACHINE, nvidia_is_here, visible
from ..stage_process import SlotKind

# A desktop and the driver use less than this; a running training uses more.
EMPTY_GB = 2.0
HOST_LOCK = "nnunet-mcp-gpu-"
# Not a training: the server that MPS clients share; it stays when they have ended.
SHARED_BY_ALL = "nvidia-cuda-mps-server"


@dataclass(frozen=True)
class Place:
    """A place for one stage at a time."""

    kind: SlotKind
    name: str
    lock: Path
    title: str
    host_lock: Path | None = None
    gpu: Gpu | None = None
    taken_by: str = ""
    # Of a GPU that is shared: the locks of its other shares, and the GB that the run will take.
    beside: tuple[Path, ...] = ()
    need_gb: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no use of this GPU is visible."""
        gpu = self.gpu
        return gpu is not None and not gpu.processes and gpu.used_gb is not None and gpu.used_gb < EMPTY_GB


def slot_kind(spec: StageSpec, device: str) -> SlotKind | None:
    """Which kind of place a stage needs; None for one that takes only a moment."""
    if spec.traits.slot == "device":
        return "gpu" if device == "cuda" else "cpu"
    return spec.traits.slot


def find_places(
    kind: SlotKind, state: StateDir, settings: Settings, *, record: RunRecord | None = None
) -> tuple[list[Place], str]:
    """The places of this host, the best one for the record's run first; if there are none, also why."""
    if kind != "gpu":
        return [place_of(state, kind, "0")], ""
    return gpu_places(MACHINE.find(settings.nnunet_python), state, settings, record=record)


def place_of(state: StateDir, kind: SlotKind, name: str) -> Place:
    """A place that consists of its lock alone."""
    return Place(kind, name, slot_path(state, kind, name), name)


def slot_path(state: StateDir, kind: SlotKind, name: str, uuid: str = "") -> Path:
    """The lock of a place: of this host, or of a GPU by its UUID."""
    return state.locks_dir / lock_name(f"slot-{kind}-{uuid or f'{host_name()}-{name}'}")


def gpu_places(
    found: FoundGpus, state: StateDir, settings: Settings, *, record: RunRecord | None = None
) -> tuple[list[Place], str]:
    """The GPUs that CUDA_VISIBLE_DEVICES and the settings allow, the one with most free memory first."""
    gpus, why = visible(found, settings.gpus)
    if found.hangs and gpus:
        return [], found.problem
    if nvidia_is_here() and (nameless := [gpu for gpu in gpus if not gpu.uuid]):
        # A lock named by the GPU's number would differ from the one named by its UUID, which the driver will report
        # again soon.
        gpus = [gpu for gpu in gpus if gpu.uuid]
        why = why or f"the UUID of GPU {nameless[0].title} is not known now; {found.problem}".removesuffix("; ")
    need = _need(state, settings, record)
    if record is not None:
        gpus = _suited(gpus, need, record.num_gpus)
        why = why or "a training on several GPUs cannot use instances of a divided one (MIG)"
    gpus = sorted(gpus, key=lambda gpu: -(gpu.free_gb or gpu.total_gb or 0.0))
    shares = range(1, settings.share_gpus + 1)
    places = [
        _gpu_place(gpu, share, state, settings, need)
        for share in shares
        for gpu in gpus
        if share == 1 or _has_room_for(gpu, need)
    ]
    return places, "" if gpus else why


def _need(state: StateDir, settings: Settings, record: RunRecord | None) -> Need | None:
    """Alone on a GPU, PyTorch keeps more than it needs, so that what was measured counts only where it is shared."""
    if record is None:
        return None
    return need_of(state, record) if settings.share_gpus > 1 else planned_need(record)


def _has_room_for(gpu: Gpu, need: Need | None) -> bool:
    return need is None or gpu.total_gb is None or gpu.total_gb >= need.whole


def _gpu_place(gpu: Gpu, share: int, state: StateDir, settings: Settings, need: Need | None) -> Place:
    suffix, *others = [f"-{one}" if one > 1 else "" for one in (share, *range(1, settings.share_gpus + 1))]

    def lock(suffix: str) -> Path:
        return slot_path(state, "gpu", gpu.index + suffix, uuid=gpu.uuid and gpu.uuid + suffix)

    return Place(
        kind="gpu",
        name=gpu.cuda_name,
        lock=lock(suffix),
        beside=tuple(lock(other) for other in others if other != suffix),
        need_gb=need.whole if need else None,
        title=gpu.title + (f", share {share}" if share > 1 else ""),
        host_lock=absolute(settings.host_locks) / lock_name(f"{HOST_LOCK}{gpu.uuid}{suffix}") if gpu.uuid else None,
        gpu=gpu,
        taken_by=why_not_free(gpu, need, shared=settings.share_gpus > 1),
    )


def _suited(gpus: list[Gpu], need: Need | None, wanted: int) -> list[Gpu]:
    """The GPUs without those that are too small, if enough others remain. For several GPUs only undivided cards count:
    CUDA shows a process only one MIG instance."""
    whole = [gpu for gpu in gpus if wanted == 1 or not gpu.is_instance]
    large = [gpu for gpu in whole if _has_room_for(gpu, need)]
    return large if len(large) >= wanted else whole


def why_not_free(gpu: Gpu, need: Need | None, *, shared: bool = False) -> str:
    """What other programs occupy on a GPU; empty if it is free.

    A GPU is free if its memory is: an idle notebook, a desktop or the MPS server stays for ever. The list of processes
    decides where the memory is unknown, or where the driver lets only one process compute. If the settings share GPUs,
    other programs do not matter as long as the memory is free that is measured or planned.
    """
    others = [one for one in gpu.processes if SHARED_BY_ALL not in one.name]
    named = ", ".join(_called(one.pid, one.name, one.memory_gb) for one in others)
    if gpu.exclusive and others:
        return f"the driver lets only one process compute on it, {named}"
    if gpu.used_gb is None or gpu.free_gb is None:
        return "" if shared else named
    enough = need is not None and gpu.free_gb >= need.whole
    just_enough = need is None or gpu.free_gb >= need.least
    if gpu.used_gb < EMPTY_GB or enough or (shared and just_enough):
        return ""
    way_on = "; NNUNET_MCP_SHARE_GPUS=2 trains beside them" if just_enough and not shared else ""
    used_by = named or "programs that cannot be seen"
    return f"{gpu.used_gb:.0f} of its {gpu.total_gb:.0f} GB are used by {used_by}{way_on}"


def _called(pid: int, name: str, memory_gb: float | None) -> str:
    told = [Path(name).name, "" if memory_gb is None else f"{max(memory_gb, 1.0):.0f} GB"]
    return f"pid {pid} ({', '.join(filter(None, told))})".removesuffix(" ()")

"""Slots: one per GPU, one for training on the CPU and one for preprocessing, shared by all runs and
servers of this host. Other hosts on the same state folder have slots of their own.

A slot is a lock that the supervisor takes and the worker inherits, so it is free again exactly when
nothing of the stage is left. Who waits longest goes first: a waiting stage holds a ticket, a lock too,
named so that tickets sort by age.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..schemas.runs import StageKind
from .layout import StateDir
from .liveness import host_name
from .locks import Lock, lock_name

SlotKind = Literal["gpu", "cpu", "preprocess"]


@dataclass
class Grant:
    """Slots that a stage holds."""

    locks: list[Lock]
    devices: list[str]
    kind: SlotKind | None = None

    def file_descriptors(self) -> list[int]:
        return [lock.fileno() for lock in self.locks]

    def release(self) -> None:
        """Give the slots back on this process's side."""
        for lock in self.locks:
            lock.release()


@dataclass
class SlotQueue:
    """The slots of one kind as one waiting stage sees them."""

    state: StateDir
    kind: SlotKind
    names: list[str]
    run_id: str
    created_at: float
    stage: str
    _ticket: Lock | None = field(default=None, init=False)

    def try_acquire(self, wanted: int) -> Grant | str:
        """Take `wanted` slots, or say what is being waited for."""
        if self._ticket is None:
            self._take_ticket()
        if older := self._older_ticket():
            return f"waits behind {older} for a {self.kind} slot"
        found = self._free_slots(wanted)
        if isinstance(found, str):
            return found
        self._drop_ticket()
        return Grant(list(found.values()), list(found), self.kind)

    def withdraw(self) -> None:
        """Wait no longer."""
        self._drop_ticket()

    def _free_slots(self, wanted: int) -> dict[str, Lock] | str:
        taken: dict[str, Lock] = {}
        reasons: list[str] = []
        for name in self.names:
            if len(taken) == wanted:
                break
            lock = Lock(slot_path(self.state, self.kind, name))
            if not lock.try_acquire({"run_id": self.run_id, "stage": self.stage}):
                reasons.append(f"{self.kind} slot {name} is held by {_who(lock)}")
            elif self.kind == "gpu" and (foreign := foreign_gpu_processes(name)):
                lock.release()
                reasons.append(f"GPU {name} is used by other processes ({foreign})")
            else:
                taken[name] = lock
        if len(taken) == wanted:
            return taken
        for lock in taken.values():
            lock.release()
        return "waits for a slot: " + "; ".join(reasons)

    @property
    def _queue_dir(self) -> Path:
        return self.state.locks_dir / f"queue-{self.kind}-{host_name()}"

    def _take_ticket(self) -> None:
        name = f"{self.created_at:017.6f}-{self.run_id}-{self.stage}"
        self._ticket = Lock(self._queue_dir / name)
        self._ticket.try_acquire({"run_id": self.run_id, "stage": self.stage})

    def _drop_ticket(self) -> None:
        if self._ticket is not None:
            with contextlib.suppress(OSError):  # a free ticket counts no more, and the next in line removes it
                self._ticket.path.unlink(missing_ok=True)
            self._ticket.release()
            self._ticket = None

    def _older_ticket(self) -> str | None:
        """The run that is next in line before this one; tickets of dead waiters are removed."""
        assert self._ticket is not None
        for path in sorted(self._queue_dir.iterdir()):
            if path.name >= self._ticket.path.name:
                return None
            other = Lock(path)
            if other.try_acquire():
                path.unlink(missing_ok=True)
                other.release()
            else:
                return str(other.holder().get("run_id", "another run"))
        return None


def slot_kind(stage_kind: StageKind, device: str) -> SlotKind | None:
    """Which slots a stage takes; None for one that needs no more than a moment."""
    if stage_kind in ("train", "validate", "predict"):
        return "gpu" if device == "cuda" else "cpu"
    # The search computes in as many processes as a preprocessing does.
    return "preprocess" if stage_kind in ("preprocess", "find_best") else None


def slot_names(kind: SlotKind, gpus: int | None) -> list[str]:
    """The slots of a kind on this host. GPUs go by the names that CUDA_VISIBLE_DEVICES takes.

    `gpus` replaces what nvidia-smi lists; GPUs that CUDA_VISIBLE_DEVICES hides from the server have no slot.
    """
    if kind != "gpu":
        return ["0"]
    if gpus is not None:
        return [str(index) for index in range(gpus)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = [str(index) for index in range(_gpu_count())]
    return listed if visible is None else [name.strip() for name in visible.split(",") if name.strip() and listed]


def slot_path(state: StateDir, kind: SlotKind, name: str) -> Path:
    """The lock of a slot of this host."""
    return state.locks_dir / lock_name(f"slot-{kind}-{host_name()}-{name}")


def _who(lock: Lock) -> str:
    holder = lock.holder()
    return f"run {holder['run_id']} ({holder.get('stage', '?')})" if "run_id" in holder else "another process"


def _gpu_count() -> int:
    """How many GPUs nvidia-smi lists; 0 without a driver."""
    listing = _nvidia_smi("--query-gpu=index")
    return len(listing.split()) if listing else 0


def foreign_gpu_processes(name: str) -> str:
    """Compute processes on a GPU that no run of ours holds, as "pid 1, pid 2"; empty if none."""
    listing = _nvidia_smi("--query-compute-apps=pid", f"--id={name}")
    return ", ".join(f"pid {pid}" for pid in listing.split())


def gpu_names() -> list[str]:
    """Model and memory of every GPU."""
    return [" ".join(line.split()) for line in _nvidia_smi("--query-gpu=name,memory.total").splitlines()]


def gpu_memory_gb() -> float | None:
    """Memory of the smallest GPU in GB; null without one."""
    listed = [line for line in _nvidia_smi("--query-gpu=memory.total").split() if line.isdigit()]
    return round(min(map(int, listed)) * 1024**2 / 1e9, 1) if listed else None


def slot_holder(state: StateDir, kind: SlotKind, name: str) -> str | None:
    """Who holds a slot, or None where it is free."""
    lock = Lock(slot_path(state, kind, name))
    if not lock.path.exists() or lock.try_acquire():  # looking makes no file
        lock.release()
        foreign = foreign_gpu_processes(name) if kind == "gpu" else ""
        return f"other processes ({foreign})" if foreign else None
    return _who(lock)


def _nvidia_smi(*arguments: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, *arguments, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

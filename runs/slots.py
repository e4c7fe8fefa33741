"""Slots: one per GPU, one for training on the CPU and one for preprocessing, shared by all runs and
servers of this host. Other hosts on the same state folder have slots of their own.

A slot is a lock that the supervisor takes and the worker inherits, so it is free again exactly when
nothing of the stage is left. Who waits longest goes first: a waiting stage holds a ticket, a lock too,
named so that tickets sort by age.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..schemas.runs import StageKind
from .gpus import find_gpus, gpu_processes, uuid_of
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
    lanes: int = 1

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
    why_none: str = ""
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
        return Grant(list(found.values()), list(found), self.kind, len(self.names))

    def withdraw(self) -> None:
        """Wait no longer."""
        self._drop_ticket()

    def _free_slots(self, wanted: int) -> dict[str, Lock] | str:
        if len(self.names) < wanted:
            lacking = f"{wanted} {self.kind} slots are needed and there are {len(self.names)}"
            return f"waits for a slot: {self.why_none or lacking}"
        taken: dict[str, Lock] = {}
        reasons: list[str] = []
        for name in self.names:
            if len(taken) == wanted:
                break
            lock = Lock(slot_path(self.state, self.kind, name))
            if not lock.try_acquire({"run_id": self.run_id, "stage": self.stage}):
                reasons.append(f"{self.kind} slot {name} is held by {_who(lock)}")
            elif self.kind == "gpu" and (foreign := gpu_processes(name)):
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
    """The slots of a kind on this host. GPUs go by the names that CUDA_VISIBLE_DEVICES takes."""
    return find_slots(kind, gpus)[0]


def find_slots(kind: SlotKind, gpus: int | None) -> tuple[list[str], str]:
    """The slots of a kind on this host, and where there are none, why."""
    return find_gpus(gpus) if kind == "gpu" else (["0"], "")


def slot_path(state: StateDir, kind: SlotKind, name: str) -> Path:
    """The lock of a slot of this host; a GPU has one under all its names, also in another container."""
    own = uuid_of(name) if kind == "gpu" else None
    return state.locks_dir / lock_name(f"slot-{kind}-{own or f'{host_name()}-{name}'}")


def _who(lock: Lock) -> str:
    holder = lock.holder()
    return f"run {holder['run_id']} ({holder.get('stage', '?')})" if "run_id" in holder else "another process"


def slot_holder(state: StateDir, kind: SlotKind, name: str) -> str | None:
    """Who holds a slot, or None where it is free."""
    lock = Lock(slot_path(state, kind, name))
    if not lock.is_free():
        return _who(lock)
    foreign = gpu_processes(name) if kind == "gpu" else ""
    return f"other processes ({foreign})" if foreign else None

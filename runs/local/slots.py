"""Slots: one per GPU, one for training on the CPU and one for preprocessing, shared by all runs and servers of this
host. Other hosts with the same state folder have their own.

A slot is a lock that the supervisor takes and the worker inherits, so it is free as soon as no process of the stage is
left. The stage that waits longest is first: each waiting stage holds a ticket, which is a lock whose name sorts by age.
The ticket of one that people let in front has a name that sorts before all ages.
"""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...liveness import host_name
from ...locks import HostLock, Lock
from ...texts import NAMED
from ..layout import StateDir
from ..stage_process import Grant, SlotKind
from .places import Place

# A training shows in a GPU's memory within a minute or two.
UNSEEN_S = 120.0
# If the GPU stays empty longer than this, the holder of the host's lock does not train there.
EMPTY_S = 600.0
# Seconds since the epoch are below it for another 280 years.
LATEST = 1e10


@dataclass
class SlotQueue:
    """The slots of one kind, from the point of view of one waiting stage."""

    state: StateDir
    kind: SlotKind
    places: list[Place]
    run_id: str
    created_at: float
    stage: str
    why_none: str = ""
    # How many slots the waiting stages of this kind in this run want, including this one.
    beside: int = 0
    # When people let the run in front.
    front_at: float | None = None
    _ticket: Lock | None = field(default=None, init=False)
    _empty_since: dict[str, float] = field(default_factory=dict, init=False)

    def try_acquire(self, wanted: int) -> Grant | str:
        """Take `wanted` slots, or say what the stage waits for."""
        if len(names := {place.name for place in self.places}) < wanted:
            self._drop_ticket()  # stages behind it must not wait for a stage that may never start
            lacking = f"{wanted} {self.kind} slots are needed and there are {len(names)}"
            return f"waits for a slot: {self.why_none or lacking}"
        self._take_ticket()
        if in_front := self._in_front():
            return f"waits behind {in_front} for a {self.kind} slot"
        found = self._free_slots(wanted)
        if isinstance(found, Grant):
            self._drop_ticket()
        return found

    def withdraw(self) -> None:
        """Leave the queue."""
        self._drop_ticket()

    def _free_slots(self, wanted: int) -> Grant | str:
        grant = Grant([], [], self.kind)
        reasons: list[str] = []
        for place in self.places:
            if len(grant.devices) == wanted:
                break
            if place.name in grant.devices:  # another share of the same GPU
                continue
            locks = self._lock(place)
            if isinstance(locks, str):
                reasons.append(locks)
                continue
            grant.locks += locks
            grant.devices.append(place.name)
            grant.gpus += [place.gpu] if place.gpu else []
        if len(grant.devices) == wanted:
            grant.lanes = self._lanes(grant)
            return grant
        grant.release()
        more = f"; and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
        return "waits for a slot: " + "; ".join(reasons[:NAMED]) + more

    def _lanes(self, grant: Grant) -> int:
        """By how many trainings the host's cores and memory are divided: those that run now and this run's own."""
        own = {lock.path for lock in grant.locks}
        used = [place for place in self.places if place.lock not in own and slot_holder(place)]
        locked = [place for place in used if not Lock(place.lock).is_free()]
        by_others = {place.name for place in used} - {place.name for place in locked} - {*grant.devices}
        wanted = max(len(grant.devices), self.beside)
        return min(len(locked) + len(by_others) + wanted, len(self.places))

    def _lock(self, place: Place) -> list[Lock] | str:
        """The locks of a free place, or who holds it."""
        lock = Lock(place.lock)
        holder = {"run_id": self.run_id, "stage": self.stage, "gb": place.need_gb, "since": time.time()}
        if not lock.try_acquire(holder):
            return f"{self.kind} slot {place.title} is held by {_who(lock)}"
        if place.taken_by:
            lock.release()
            return f"GPU {place.title} is used by others: {place.taken_by}"
        if crowded := _crowded(place):
            lock.release()
            return f"GPU {place.title} {crowded}"
        host = HostLock(place.host_lock) if place.host_lock else None
        try:
            mine = host is None or host.try_acquire()
        except OSError:  # somebody has made the lock unusable: only the GPU's memory can tell now
            host, mine = None, True
        if mine or self._is_only_held(place):
            return [lock] if host is None or not mine else [lock, host]
        lock.release()
        return f"GPU {place.title} is held by a run of another user or state folder"

    def _is_only_held(self, place: Place) -> bool:
        """Whether the GPU has been empty for so long that the host's lock on it no longer counts."""
        if not place.is_empty:
            self._empty_since.pop(place.name, None)
            return False
        return time.monotonic() - self._empty_since.setdefault(place.name, time.monotonic()) > EMPTY_S

    @property
    def _queue_dir(self) -> Path:
        return self.state.locks_dir / f"queue-{self.kind}-{host_name()}"

    @property
    def _ticket_name(self) -> str:
        """By age, behind those that were let in front, of which the last is first: "+" sorts before all digits."""
        turn = self.created_at if self.front_at is None else LATEST - self.front_at
        return f"{'' if self.front_at is None else '+'}{turn:017.6f}-{self.run_id}-{self.stage}"

    def _take_ticket(self) -> None:
        """Have a ticket of that name: the run may have been let in front since, or somebody has removed the file."""
        path = self._queue_dir / self._ticket_name
        if self._ticket is not None and self._ticket.path == path and path.exists():
            return
        self._drop_ticket()
        self._ticket = Lock(path)
        self._ticket.try_acquire({"run_id": self.run_id, "stage": self.stage})

    def _drop_ticket(self) -> None:
        if self._ticket is not None:
            # an unlocked ticket does not count, and the next stage in line removes it
            with contextlib.suppress(OSError):
                self._ticket.path.unlink(missing_ok=True)
            self._ticket.release()
            self._ticket = None

    def _in_front(self) -> str | None:
        """The run that is next in line, and how many more are before this one. Tickets of dead processes are removed as
        soon as they are the first."""
        assert self._ticket is not None
        earlier = [path for path in sorted(self._queue_dir.iterdir()) if path.name < self._ticket.path.name]
        for place, path in enumerate(earlier):
            other = Lock(path)
            if other.try_acquire():
                path.unlink(missing_ok=True)
                other.release()
                continue
            runs = {_turn(path) for path in earlier[place:]} - {_turn(self._ticket.path)}
            more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
            return f"{other.holder().get('run_id', 'another run')}{more}"
        return None


def _turn(ticket: Path) -> str:
    """What the tickets of a run's stages have in common."""
    return ticket.name.partition("-")[0]


def _crowded(place: Place) -> str:
    """Why a run does not fit beside those that share the GPU: one that has just begun shows no memory yet, so what each
    needs is added up, and what the new ones need is not free. They name it in their locks; of those that do not know
    it, only the memory in use counts."""
    gpu, need = place.gpu, place.need_gb
    if gpu is None or gpu.total_gb is None or need is None:
        return ""
    holders = [lock.holder() for lock in map(Lock, place.beside) if not lock.is_free()]
    taken, unseen = _needed(holders), _needed([one for one in holders if _is_new(one)])
    if taken and need + taken > gpu.total_gb:
        first = _named(holders[0])
        return f"has {gpu.total_gb:.0f} GB, of which {first} and others need {taken:.0f}, and this one {need:.0f}"
    if unseen and gpu.free_gb is not None and need + unseen > gpu.free_gb:
        just_begun = f"runs that have just begun need {unseen:.0f}"
        return f"has {gpu.free_gb:.0f} GB free, of which {just_begun}, and this one {need:.0f}"
    return ""


def _needed(holders: list[dict[str, Any]]) -> float:
    """The GB that they name together."""
    return sum(gb for one in holders if isinstance(gb := one.get("gb"), int | float))


def _is_new(holder: dict[str, Any]) -> bool:
    """Whether its memory may not show yet."""
    return isinstance(since := holder.get("since"), int | float) and time.time() - since < UNSEEN_S


def _who(lock: Lock) -> str:
    return _named(lock.holder())


def _named(holder: dict[str, Any]) -> str:
    return f"run {holder['run_id']} ({holder.get('stage', '?')})" if "run_id" in holder else "another process"


def slot_holder(place: Place) -> str | None:
    """Who holds a slot, or None where it is free."""
    lock = Lock(place.lock)
    if not lock.is_free():
        return _who(lock)
    if place.taken_by:
        return f"others: {place.taken_by}"
    with contextlib.suppress(OSError):
        if place.host_lock and not HostLock(place.host_lock).is_free():
            return "a run of another user or state folder"
    return None

"""How many cores and how much memory this process may use; under taskset, Slurm or in a container less than there is.

The limits of a container are those of its control group (Linux cgroups, versions 2 and 1) and of all groups above it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
PRESSURE = Path("/proc/pressure/memory")
FULL = re.compile(r"^full .*avg60=(\d+\.?\d*)", re.MULTILINE)


@dataclass(frozen=True)
class Memory:
    """In bytes."""

    total: int
    available: int


def usable_cores() -> int:
    """Cores this process may use, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cores, *_cpu_quotas()])))


def usable_memory() -> Memory:
    """Memory that this process may use; cached pages count as available."""
    machine = psutil.virtual_memory()
    limits = list(_memory_limits())
    total = min([machine.total, *(limit for limit, _ in limits)])
    return Memory(total, min([machine.available, total, *(max(0, limit - used) for limit, used in limits)]))


def waits_for_memory() -> float:
    """The share of the last minute, 0-1, in which every busy process of this machine or of the own control group waited
    for memory (Linux's "full" pressure): it is swapped, or pages are read again. 0 where the kernel does not say."""
    files = (PRESSURE, *(group / "memory.pressure" for group in _groups("memory")))
    return max((float(share) / 100 for file in files for share in FULL.findall(_text(file))), default=0.0)


def _cpu_quotas() -> Iterator[float]:
    """Cores that each group may use on average."""
    for group in _groups("cpu"):
        both = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if len(both) == 2 and both[0].isdigit():  # "max" and -1 mean no limit
            yield int(both[0]) / int(both[1])


def _memory_limits() -> Iterator[tuple[int, int]]:
    """The limit of each group, and how much of it is used and cannot be freed."""
    for group in _groups("memory"):
        for limit_name, used_name, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _words(group / limit_name), _words(group / used_name)
            if limit and used and limit[0].isdigit():
                yield int(limit[0]), int(used[0]) - _entry(_words(group / "memory.stat"), cached)


def _groups(controller: str) -> Iterator[Path]:
    """The control groups of this process for one controller; inside a container often only the topmost is visible."""
    for line in _text(OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = GROUPS / controller if controllers else GROUPS
        own = top / path.strip("/")
        yield from (group for group in (own, *own.parents) if group.is_relative_to(top))


def _entry(words: Iterable[str], name: str) -> int:
    rest = iter(words)
    return next((int(value) for key, value in zip(rest, rest, strict=False) if key == name), 0)


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    return ""

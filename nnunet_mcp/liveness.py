"""Whether a recorded process still runs: it must have the same pid, start time and boot of the machine."""

import os
import socket
import time
from functools import lru_cache
from pathlib import Path

import psutil

from .schemas.records import Liveness, ProcessMark

# On Linux the start is counted in ticks since the boot, which no change of the clock affects. Elsewhere it is a time of
# day.
START_TOLERANCE = 0.0 if psutil.LINUX else 60.0
# proc(5): the third field of /proc/<pid>/stat is the state, the twenty-second the start.
STATE, START = 0, 19


@lru_cache(maxsize=1)
def boot_id() -> str:
    """The id of this boot of the machine; empty where start times are times of day, which never repeat."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def host_name() -> str:
    """This host's name, which tells hosts on a shared file system apart."""
    return socket.gethostname()


def pid_namespace() -> str:
    """The PID namespace, so that a pid seen from inside a container is not mistaken for the host's."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def mark_of(pid: int) -> ProcessMark:
    """The mark of a live process of this host.

    Raises:
        psutil.NoSuchProcess: it is gone already.
    """
    return ProcessMark(
        pid=pid,
        start_time=_start_and_state(pid)[0],
        boot_id=boot_id(),
        host=host_name(),
        pid_namespace=pid_namespace(),
    )


def liveness(mark: ProcessMark) -> Liveness:
    """Whether the marked process runs; "unknown" where we cannot see it from here."""
    if mark.host != host_name():
        return "unknown"
    if mark.boot_id != boot_id():
        return "dead"
    if mark.pid_namespace != pid_namespace():
        return "unknown"
    try:
        start, ended = _start_and_state(mark.pid)
    except psutil.NoSuchProcess:
        return "unknown" if _hidden(mark.pid) else "dead"
    except psutil.AccessDenied:
        return "unknown"
    return "alive" if abs(start - mark.start_time) <= START_TOLERANCE and not ended else "dead"


def _start_and_state(pid: int) -> tuple[float, bool]:
    """When the process was started, in the kernel's unit, and whether it is a zombie.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    if not psutil.LINUX:
        process = psutil.Process(pid)
        return process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    fields = stat.rpartition(")")[2].split()  # the process name in front of it may hold blanks and parentheses
    return float(fields[START]), fields[STATE] in "ZX"


def _hidden(pid: int) -> bool:
    """Whether the process exists but belongs to another user and /proc hides it (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def touched_within(path: Path, seconds: float) -> bool:
    """Whether a heartbeat file was touched in the last `seconds`; for processes of other hosts it is all we know."""
    try:
        return time.time() - path.stat().st_mtime < seconds
    except OSError:
        return False

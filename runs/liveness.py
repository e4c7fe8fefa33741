"""Is that process still ours, and still there? Proved by pid, start time and boot, never assumed."""

import socket
import time
from functools import lru_cache
from pathlib import Path

import psutil

from ..schemas.runs import Liveness, ProcessMark

# /proc gives start times in clock ticks of 10 ms; psutil adds the boot time, which NTP can shift a little.
START_TIME_TOLERANCE_S = 2.0


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Names this boot of this machine; another boot has another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"boot-{psutil.boot_time():.0f}"


def host_name() -> str:
    """This host, as shared file systems would tell hosts apart."""
    return socket.gethostname()


def pid_namespace() -> str:
    """The PID namespace, so that a pid seen from inside a container is not mistaken for the host's."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def mark_of(pid: int) -> ProcessMark:
    """Name a live process of this host.

    Raises:
        psutil.NoSuchProcess: it is gone already.
    """
    return ProcessMark(
        pid=pid,
        start_time=psutil.Process(pid).create_time(),
        boot_id=boot_id(),
        host=host_name(),
        pid_namespace=pid_namespace(),
    )


def liveness(mark: ProcessMark) -> Liveness:
    """Whether the marked process runs; "unknown" where this process cannot see it."""
    if mark.host != host_name():
        return "unknown"
    if mark.boot_id != boot_id():
        return "dead"
    if mark.pid_namespace != pid_namespace():
        return "unknown"
    try:
        process = psutil.Process(mark.pid)
        same = abs(process.create_time() - mark.start_time) < START_TIME_TOLERANCE_S
        return "alive" if same and process.status() != psutil.STATUS_ZOMBIE else "dead"
    except psutil.NoSuchProcess:
        return "dead"
    except psutil.AccessDenied:
        return "unknown"


def touched_within(path: Path, seconds: float) -> bool:
    """Whether a heartbeat file was touched in the last `seconds`: the word of another host."""
    try:
        return time.time() - path.stat().st_mtime < seconds
    except OSError:
        return False

"""All processes of a stage, even if their parent has died, and how to end them."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

# Set in the worker's environment; every descendant inherits it, also after setsid or when orphaned.
STAGE_VARIABLE = "NNUNET_MCP_STAGE_DIR"
# How many processes like this one can train on this machine at once, each on its own GPU; also in the environment.
LANES_VARIABLE = "NNUNET_MCP_STAGE_LANES"


def processes_of(*stage_paths: Path) -> list[psutil.Process]:
    """All live processes that carry the mark of one of the stages in their environment."""
    marks = {os.path.realpath(path) for path in stage_paths}
    return [process for process in psutil.process_iter() if _carries(process, marks)]


def _carries(process: psutil.Process, marks: set[str]) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        mark = process.environ().get(STAGE_VARIABLE)
        return mark is not None and os.path.realpath(mark) in marks
    except (psutil.Error, OSError, ValueError):
        return False


def let_others_first(pid: int, niceness: int) -> None:
    """Lower the priority of a process that has just started a session of its own, and of all that it will start."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
    # Where Linux shares the CPU between sessions, niceness counts only within one (sched(7), "The autogroup feature").
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")


def send_signal(number: signal.Signals, *stage_paths: Path) -> int:
    """Signal every process of the stages; returns how many there were."""
    found = processes_of(*stage_paths)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
    return len(found)


def kill_all(*stage_paths: Path, term_wait_s: float = 0.0, kill_wait_s: float = 10.0) -> bool:
    """End every process of the stages: SIGTERM, wait, then SIGKILL until none is left.

    Returns whether none is left; a process in uninterruptible sleep can outlive `kill_wait_s`.
    """
    if term_wait_s > 0 and send_signal(signal.SIGTERM, *stage_paths):
        _wait_gone(stage_paths, term_wait_s)
    deadline = time.monotonic() + kill_wait_s
    while send_signal(signal.SIGKILL, *stage_paths):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _wait_gone(stage_paths: tuple[Path, ...], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while processes_of(*stage_paths) and time.monotonic() < deadline:
        time.sleep(0.1)


def cpu_seconds(stage_path: Path) -> dict[int, float]:
    """CPU time used so far by each live process of the stage, by pid."""
    used = {}
    for process in processes_of(stage_path):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used


def cpu_used_since(before: dict[int, float], now: dict[int, float]) -> float:
    """CPU time used between two measurements; processes that ended in between are left out."""
    return sum(max(0.0, seconds - before.get(pid, 0.0)) for pid, seconds in now.items())

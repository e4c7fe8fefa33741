"""Every process of a stage, wherever it was re-parented to, and how to end them all."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

# Set in the worker's environment; every descendant inherits it, also after setsid or when orphaned.
STAGE_VARIABLE = "NNUNET_MCP_STAGE_DIR"


def processes_of(stage_path: Path) -> list[psutil.Process]:
    """All live processes that carry the stage's mark in their environment."""
    return [process for process in psutil.process_iter() if _carries(process, str(stage_path))]


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get(STAGE_VARIABLE) == mark
    except (psutil.Error, OSError, ValueError):
        return False


def send_signal(stage_path: Path, number: signal.Signals) -> int:
    """Signal every process of the stage; returns how many there were."""
    found = processes_of(stage_path)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
    return len(found)


def kill_all(stage_path: Path, *, term_wait_s: float = 0.0, kill_wait_s: float = 10.0) -> bool:
    """End every process of the stage: SIGTERM, a wait, SIGKILL until none is left.

    Returns whether none is left; a process in uninterruptible sleep can outlast `kill_wait_s`.
    """
    if term_wait_s > 0 and send_signal(stage_path, signal.SIGTERM):
        _wait_gone(stage_path, term_wait_s)
    deadline = time.monotonic() + kill_wait_s
    while send_signal(stage_path, signal.SIGKILL):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _wait_gone(stage_path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while processes_of(stage_path) and time.monotonic() < deadline:
        time.sleep(0.1)


def cpu_seconds(stage_path: Path) -> float:
    """CPU time used so far by the stage's live processes."""
    total = 0.0
    for process in processes_of(stage_path):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total

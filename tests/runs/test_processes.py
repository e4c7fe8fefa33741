"""Every process of a stage is found by the mark in its environment, wherever it went, and ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from nnunet_mcp.runs.processes import STAGE_VARIABLE, cpu_seconds, cpu_used_since, kill_all, processes_of
from tests.kit.lab import until

WAIT = "import time\nprint('up', flush=True)\ntime.sleep(600)"
# The child leaves its parent, its session and its group, as a daemon does.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(600)
    os._exit(0)
os.wait()
os._exit(0)
"""
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAIT}"
POLITE = f"""
import signal, sys
def end(*_):
    open(sys.argv[1], "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
{WAIT}
"""


def start(stage: Path, script: str, *arguments: str) -> tuple["subprocess.Popen[str]", str]:
    """A process that carries the stage's mark, and its first line."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, STAGE_VARIABLE: str(stage)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout as stream:
        return child, stream.readline().strip()


def test_a_process_that_became_a_daemon_is_found_and_ended(tmp_path: Path) -> None:
    parent, line = start(tmp_path, DAEMON)
    parent.wait()
    daemon = psutil.Process(int(line))
    assert daemon.ppid() != parent.pid
    assert [process.pid for process in processes_of(tmp_path)] == [daemon.pid]

    assert kill_all(tmp_path)

    assert until(lambda: not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE)
    assert processes_of(tmp_path) == []


def test_only_the_own_stage_is_ended(tmp_path: Path) -> None:
    mine, _ = start(tmp_path / "stages" / "train_fold_1", WAIT)
    other, _ = start(tmp_path / "stages" / "train_fold_10", WAIT)
    try:
        assert kill_all(tmp_path / "stages" / "train_fold_1")

        assert mine.wait(timeout=10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_stage_is_found_under_another_path_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    child, _ = start(tmp_path / "link" / "train_fold_0", WAIT)

    assert kill_all(tmp_path / "real" / "train_fold_0")

    assert child.wait(timeout=10) == -signal.SIGKILL


def test_a_process_gets_the_time_to_clean_up(tmp_path: Path) -> None:
    child, _ = start(tmp_path, POLITE, str(tmp_path / "cleaned"))

    assert kill_all(tmp_path, term_wait_s=10)

    assert child.wait(timeout=10) == 0
    assert (tmp_path / "cleaned").exists()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    child, _ = start(tmp_path, STUBBORN)

    assert kill_all(tmp_path, term_wait_s=0.3)

    assert child.wait(timeout=10) == -signal.SIGKILL


def test_a_stopped_process_is_killed_too(tmp_path: Path) -> None:
    child, _ = start(tmp_path, WAIT)
    child.send_signal(signal.SIGSTOP)

    assert kill_all(tmp_path)

    assert child.wait(timeout=10) == -signal.SIGKILL


def test_a_caller_that_carries_the_mark_itself_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys; from pathlib import Path; from nnunet_mcp.runs.processes import kill_all; "
    script += "print(kill_all(Path(sys.argv[1])))"
    child, line = start(tmp_path, script, str(tmp_path))

    assert line == "True"
    assert child.wait(timeout=10) == 0


def test_where_nothing_runs_there_is_nothing_to_end(tmp_path: Path) -> None:
    assert kill_all(tmp_path, term_wait_s=60)
    assert cpu_seconds(tmp_path) == {}


def test_computing_shows_in_the_cpu_time(tmp_path: Path) -> None:
    child, _ = start(tmp_path, "print('up', flush=True)\nwhile True: pass")
    try:
        assert until(lambda: sum(cpu_seconds(tmp_path).values()) > 0.1)
    finally:
        kill_all(tmp_path)
        child.wait()


def test_a_busy_stage_is_not_idle_because_one_of_its_processes_ended() -> None:
    assert cpu_used_since({1: 100.0, 2: 5.0}, {2: 9.0, 3: 1.0}) == 5.0
    assert cpu_used_since({1: 3.0}, {1: 3.0}) == 0.0

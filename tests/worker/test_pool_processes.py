"""nnU-Net's pools: forked from a server that has imported everything, and never waited for when one is killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.runs.processes import STAGE_VARIABLE
from nnunet_mcp.settings import Settings
from tests.kit.tiny import training_job

# A pool waits for ever for the result of a process that was killed.
STAGE = """
import multiprocessing, multiprocessing.pool, os, signal, sys, time
from pathlib import Path
from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.worker.pools import fork_pools_from_a_server
from nnunet_mcp.worker.pool_watch import end_when_a_pool_process_is_killed

look = multiprocessing.pool.Pool._join_exited_workers

def look_as_one_dies(workers):
    os.kill(workers[0].pid, signal.SIGKILL)
    os.waitid(os.P_PID, workers[0].pid, os.WEXITED | os.WNOWAIT)
    return look(workers)

def kill_process():
    os.kill(os.getpid(), signal.SIGKILL)

def kill_server():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3)

if __name__ == "__main__":
    kind, stage = sys.argv[1:]
    if kind == "while the pool looks":
        multiprocessing.pool.Pool._join_exited_workers = staticmethod(look_as_one_dies)
    else:
        fork_pools_from_a_server()
    end_when_a_pool_process_is_killed(StageDir(Path(stage)))
    task = kill_server if kind == "with its server" else kill_process
    multiprocessing.get_context("spawn").Pool(1).apply_async(task).get(60)
"""

RANK = """
import multiprocessing, os, signal
from nnunetv2.run import run_training
from nnunet_mcp.worker.training.ddp import run_ddp

def kill_process():
    os.kill(os.getpid(), signal.SIGKILL)

def validate(rank):
    multiprocessing.get_context("spawn").Pool(1).apply_async(kill_process).get(60)

if __name__ == "__main__":
    run_training.run_ddp = validate
    run_ddp(1)
"""

TELL = """
import json, multiprocessing, os, random, sys
from nnunet_mcp.worker.pools import fork_pools_from_a_server

def tell(_):
    import numpy
    return os.getppid(), "torch" in sys.modules, numpy.random.random(), os.getpid()

if __name__ == "__main__":
    fork_pools_from_a_server()
    with multiprocessing.get_context("spawn").Pool(2) as first:
        told = first.map(tell, range(8), chunksize=1)
    with multiprocessing.get_context("spawn").Pool(1) as second:
        told += second.map(tell, range(1))
    print(json.dumps({"me": os.getpid(), "told": told}))
"""


def run(script: str, folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    path = folder / "script.py"
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, str(path), *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)


def told(folder: Path, **environment: str) -> dict[str, Any]:
    ended = run(TELL, folder, **environment)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "how",
    [
        "while the pool looks",
        pytest.param("alone", marks=pytest.mark.heavy),
        pytest.param("with its server", marks=pytest.mark.heavy),
    ],
)
def test_a_pool_process_that_is_killed_ends_the_stage(tmp_path: Path, how: str) -> None:
    ended = run(STAGE, tmp_path, how, str(tmp_path))

    outcome = StageDir(tmp_path).outcome()
    assert outcome is not None, ended.stderr
    assert outcome.failure is not None
    assert "killed by signal 9" in outcome.failure.cause


@pytest.mark.heavy
def test_a_pool_process_that_is_killed_in_the_process_of_one_of_several_gpus_ends_the_stage(
    settings: Settings, tmp_path: Path
) -> None:
    job = training_job(settings, num_gpus=2)

    ended = run(RANK, tmp_path, **{STAGE_VARIABLE: str(job.stage.path)})

    outcome = job.stage.outcome()
    assert outcome is not None and outcome.failure is not None, ended.stderr
    assert "killed by signal 9" in outcome.failure.cause


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")
def test_pools_share_one_server_that_has_imported_everything_and_still_draw_their_own_numbers(tmp_path: Path) -> None:
    found = told(tmp_path)

    assert len({parent for parent, *_ in found["told"]} - {found["me"]}) == 1
    assert all(imported for _, imported, *_ in found["told"])
    first = {process: number for _, _, number, process in reversed(found["told"])}
    assert len(first) > 1 and len(set(first.values())) == len(first)


def test_where_the_server_cannot_start_each_process_imports_for_itself(tmp_path: Path) -> None:
    too_long_for_a_socket = tmp_path / ("x" * 120)
    too_long_for_a_socket.mkdir()

    found = told(tmp_path, TMPDIR=str(too_long_for_a_socket))

    assert {parent for parent, *_ in found["told"]} == {found["me"]}

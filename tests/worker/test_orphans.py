"""A worker that is killed leaves no process behind, whatever kind it started and whoever started that."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nnunet_mcp.runs.processes import STAGE_VARIABLE, processes_of
from tests.kit.lab import until

# What workers start: forked loaders, new processes, pools of the server, and processes of these.
WORKER = """
import multiprocessing, os, sys, time
from nnunet_mcp.worker.orphans import take_children_along
from nnunet_mcp.worker.pools import fork_pools_from_a_server

def nap_in_a_child(seconds):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(seconds,))
    child.start()
    child.join()

def nap_in_a_pool(seconds):
    fork_pools_from_a_server()
    nap_beside(multiprocessing.get_context("spawn").Pool(2), seconds)

def nap_beside(pool, seconds):
    assert pool.map(abs, [-1, -2]) == [1, 2]
    pool.map_async(time.sleep, [seconds, seconds], chunksize=1)
    time.sleep(seconds)

def main(kind):
    take_children_along()
    if kind == "server":
        nap_in_a_pool(600)
    elif kind == "rank":
        multiprocessing.get_context("spawn").Process(target=nap_in_a_pool, args=(600,)).start()
    else:
        for _ in range(2):
            multiprocessing.get_context(kind).Process(target=nap_in_a_child, args=(600,)).start()
    time.sleep(600)
"""
STARTED = """
import sys
from played.work import main
main(sys.argv[1])
"""


@pytest.mark.parametrize(("kind", "processes"), [("fork", 5), ("spawn", 5), ("server", 4), ("rank", 5)])
def test_whatever_a_killed_worker_had_started_is_gone_within_seconds(kind: str, processes: int, tmp_path: Path) -> None:
    package = tmp_path / "played"  # started as ours is: what ends in __main__ is imported by no new process
    package.mkdir()
    (package / "work.py").write_text(WORKER, encoding="utf-8")
    (package / "__main__.py").write_text(STARTED, encoding="utf-8")
    path = ":".join([str(tmp_path), *sys.path])
    variables = {**psutil.Process().environ(), STAGE_VARIABLE: str(tmp_path), "PYTHONPATH": path}
    worker = subprocess.Popen([sys.executable, "-m", "played", kind], env=variables, cwd="/")
    try:
        assert until(lambda: settled(tmp_path, processes), timeout_s=120)
        worker.kill()
        worker.wait()
        assert until(lambda: not processes_of(tmp_path), timeout_s=10)
    finally:
        for process in processes_of(tmp_path):
            process.kill()


def settled(folder: Path, count: int) -> bool:
    """Whether the processes that are there stay: nobody is replaced by another again and again."""
    before = {process.pid for process in processes_of(folder)}
    time.sleep(1)
    return len(before) >= count and before == {process.pid for process in processes_of(folder)}

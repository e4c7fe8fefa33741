"""A worker that is killed leaves no process behind, whatever kind it started and whoever started that."""

import subprocess
import sys
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

def nap(seconds):
    time.sleep(seconds)

def nap_in_a_child(seconds):
    child = multiprocessing.get_context("fork").Process(target=nap, args=(seconds,))
    child.start()
    child.join()

if __name__ == "__main__":
    take_children_along()
    kind = sys.argv[1]
    if kind == "server":
        fork_pools_from_a_server()
        pool = multiprocessing.get_context("spawn").Pool(2)
        pool.map_async(time.sleep, [600, 600], chunksize=1)
    else:
        context = multiprocessing.get_context(kind)
        for _ in range(2):
            context.Process(target=nap_in_a_child, args=(600,)).start()
    print("started", flush=True)
    time.sleep(600)
else:
    from nnunet_mcp.worker.orphans import end_with_parent
    end_with_parent()
"""


@pytest.mark.parametrize(("kind", "processes"), [("fork", 5), ("spawn", 5), ("server", 4)])
def test_whatever_a_killed_worker_had_started_is_gone_within_seconds(kind: str, processes: int, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    variables = {**psutil.Process().environ(), STAGE_VARIABLE: str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    worker = subprocess.Popen([sys.executable, str(script), kind], env=variables, cwd=tmp_path)
    try:
        assert until(lambda: len(processes_of(tmp_path)) >= processes, timeout_s=120)
        worker.kill()
        worker.wait()
        assert until(lambda: not processes_of(tmp_path), timeout_s=10)
    finally:
        for process in processes_of(tmp_path):
            process.kill()

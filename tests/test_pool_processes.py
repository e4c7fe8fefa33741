"""A killed pool process ends its stage, even when it dies while the pool looks."""

import subprocess
import sys
from pathlib import Path

from nnunet_mcp.runs.layout import StageDir

# The pool waits for ever for the result of a process that was killed.
KILLED_WHILE_THE_POOL_LOOKS = """
import multiprocessing.pool, os, signal, sys, time
from pathlib import Path
from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.worker.watch import end_when_a_pool_process_is_killed

look = multiprocessing.pool.Pool._join_exited_workers

def look_as_one_dies(workers):
    os.kill(workers[0].pid, signal.SIGKILL)
    os.waitid(os.P_PID, workers[0].pid, os.WEXITED | os.WNOWAIT)
    return look(workers)

if __name__ == "__main__":
    multiprocessing.pool.Pool._join_exited_workers = staticmethod(look_as_one_dies)
    end_when_a_pool_process_is_killed(StageDir(Path(sys.argv[1])))
    multiprocessing.get_context("fork").Pool(1).apply_async(time.sleep, (600,)).get(20)
"""


def test_a_pool_process_that_dies_while_the_pool_looks_ends_the_stage(tmp_path: Path) -> None:
    script = tmp_path / "stage.py"
    script.write_text(KILLED_WHILE_THE_POOL_LOOKS, encoding="utf-8")

    ended = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=60, check=False)

    outcome = StageDir(tmp_path).outcome()
    assert outcome is not None, ended.stderr
    assert outcome.failure is not None
    assert "killed by signal 9" in outcome.failure.cause

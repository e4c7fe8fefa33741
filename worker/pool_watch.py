"""Notice at once when a process of a pool was killed.

nnU-Net waits for ever for the result of a killed process in verification, metrics and the last step of the validation
(nnunetv2 2.8.1, verify_dataset_integrity.py:209, nnUNetTrainer.py:1391).
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..files import write_model
from ..runs.failures.signatures import NATIVE_CRASH
from ..runs.layout import StageDir
from ..schemas.records import Failure, Outcome
from . import nnunet_seam

# A pool ends its own processes with SIGTERM.
OWN = -signal.SIGTERM
# The exit code that multiprocessing reports for processes whose server was killed (popen_forkserver.py, `poll`).
SERVER_KILLED = 255


def end_when_a_pool_process_is_killed(stage: StageDir, known: Sequence[str] = ()) -> None:
    """From now on, end this stage with a recorded cause when a pool process is killed, and with what is `known` of the
    memory that it needs."""

    def ending(original: Callable[[list[Any]], Any]) -> Any:
        def join_exited_workers(workers: list[Any]) -> Any:
            before = list(workers)
            cleaned = original(workers)
            # Only for processes that the pool has joined is it certain how they ended; one that dies meanwhile is found
            # next time.
            codes = [worker.exitcode for worker in before if worker not in workers]
            if killed := [code for code in codes if code == SERVER_KILLED or (code < 0 and code != OWN)]:
                _end(stage, signal.SIGKILL if killed[0] == SERVER_KILLED else -killed[0], known)
            return cleaned

        return staticmethod(join_exited_workers)

    nnunet_seam.replace("multiprocessing.pool:Pool._join_exited_workers", ending)


def _end(stage: StageDir, number: int, known: Sequence[str]) -> None:
    progress = stage.progress()
    phase = progress.phase if progress else "work"
    failure = Failure(
        cause=f"a helper process was killed by signal {number} during {phase}",
        evidence=". ".join(["the kernel kills processes with signal 9 when memory runs out", *filter(None, known)])
        if number == signal.SIGKILL
        else f"signal {number}",
        remedy="Free memory, or set nnUNet_def_n_proc=1 for the server; then start the request again."
        if number == signal.SIGKILL
        else NATIVE_CRASH,
        resume=True,
    )
    print(f"{failure.cause}; {failure.evidence}", flush=True)
    sys.stdout.flush()
    write_model(stage.outcome_file, Outcome(ok=False, failure=failure))
    os._exit(1)

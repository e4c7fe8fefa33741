"""Training on several GPUs: each rank is a new process that needs our hooks, too."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...files import write_model
from ...schemas.records import Outcome
from ..pool_watch import end_when_a_pool_process_is_killed
from ..pools import fork_pools_from_a_server
from ..progress import StopRequested
from ..safe_reading import judge_what_nnunet_reads
from ..stage import Job, StageFailure
from .hooks import install

# The exit code of a rank that stopped on request; 75 is "try again later" in sysexits.h.
STOPPED = 75


def run_ddp(rank: int, *args: Any) -> None:
    """What nnU-Net spawns for each GPU in place of its own function. Unpickling it in the new process imports this
    module with our hooks, and nnU-Net only after its input files are checked.

    `args`: as nnunetv2.run.run_training.run_ddp takes them after the rank.
    """
    job = Job.of_this_process()
    judge_what_nnunet_reads()
    end_when_a_pool_process_is_killed(job.stage)
    install(job)
    fork_pools_from_a_server()
    from nnunetv2.run import run_training

    try:
        run_training.run_ddp(rank, *args)
    except StopRequested:
        sys.exit(STOPPED)
    except StageFailure as failure:  # all ranks fail alike, and the first one to end also ends the others
        write_model(job.stage.outcome_file, Outcome(ok=False, failure=failure.failure))
        raise


@contextmanager
def stop_of_ranks() -> Iterator[None]:
    """While this is active, ranks that stop on request raise StopRequested.

    Raises:
        StopRequested: they stopped on request.
    """
    from torch.multiprocessing.spawn import ProcessExitedException

    try:
        yield
    except ProcessExitedException as error:
        if error.exit_code != STOPPED:
            raise
        raise StopRequested from None

"""Training on several GPUs: each rank is a fresh process that has to get our hooks, too."""

import os
from pathlib import Path
from typing import Any

from ..runs.processes import STAGE_VARIABLE


def run_ddp(rank: int, *args: Any) -> None:
    """What nnU-Net spawns per GPU. Unpickling it there imports this module, not nnU-Net's.

    Shape of args: as nnunetv2.run.run_training.run_ddp takes them after the rank.
    """
    from nnunetv2.run import run_training

    from .hooks import install
    from .stage import Job

    stage = Path(os.environ[STAGE_VARIABLE])
    install(run_training, Job.of(str(stage.parent.parent), stage.name))
    run_training.run_ddp(rank, *args)

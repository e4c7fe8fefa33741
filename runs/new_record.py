"""The record of a run that is about to start: the same for every kind of job."""

import time
from collections.abc import Sequence

from ..liveness import host_name
from ..schemas.jobs import AnyJob
from ..schemas.records import Folders, RunRecord, StageSpec
from ..schemas.slurm import EngineName
from ..schemas.training import Device
from .engine import Engine
from .store import new_run_id


def new_record(
    job: AnyJob,
    stages: Sequence[StageSpec],
    *,
    dataset_name: str,
    folders: Folders,
    versions: dict[str, str],
    device: tuple[Device, str] = ("cpu", ""),
    engine: tuple[Engine, dict[str, str]] | None = None,
    notes: Sequence[str] = (),
) -> RunRecord:
    """A record with an id of its own. `device` comes with the reason for it, `engine` with its options.

    Without an engine the run goes to this machine.
    """
    training = job if job.kind == "train" else None
    fold = training.request.fold if training else job.kind
    here: EngineName = "local"
    name, options = (engine[0].name, engine[1]) if engine else (here, {})
    return RunRecord(
        run_id=new_run_id(job.dataset_id, job.configuration, fold),
        created_at=time.time(),
        job=job,
        dataset_name=dataset_name,
        device=device[0],
        device_reason=device[1],
        num_gpus=(training.request.num_gpus if training else None) or 1,
        folders=folders,
        stages=tuple(stages),
        engine=name,
        slurm=options,
        host=host_name(),
        versions=versions,
        notes=tuple(notes),
    )

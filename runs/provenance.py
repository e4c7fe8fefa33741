"""What is needed to repeat a run: its job, versions, hashes of plans and split, seeds, machine and times."""

import hashlib
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from ..errors import RunError
from ..files import NO_FILE, read_plain
from ..liveness import host_name
from ..nnunet.datasets import DatasetFiles
from ..nnunet.preprocessed import raw_identity
from ..nnunet.splits import split_told
from ..schemas.records import Machine, Provenance, RunRecord, StageTimes
from .layout import RunDir

GB = 1e9
# nnunetv2 2.8.1: nnUNetTrainer.py seeds neither weights nor batches.
NO_SEED = "Weights and batches are not seeded by nnU-Net"
OWN_SEED = "{seed} fixed the first weights, and the batches only on a CPU with nnUNet_n_proc_DA=0"


def compose_provenance(run: RunDir, record: RunRecord) -> Provenance:
    """Collect everything at the end of a run; missing files are left out."""
    files = DatasetFiles(record.folders, record.dataset_name)
    stages = tuple(_times(run, spec.name) for spec in record.stages if not spec.reused)
    used = (
        files.plans_file(record.plans_identifier),
        files.preprocessed / "dataset.json",
        files.fingerprint_file,
        files.splits_file,
    )
    return Provenance(
        run_id=record.run_id,
        job=record.job,
        dataset_name=record.dataset_name,
        versions=record.versions,
        sha256={path.name: found for path in used if (found := _sha256(path)) is not None},
        raw_identity=_raw_identity(files),
        seeds=_seeds(files, record),
        machine=machine(record, dict.fromkeys(gpu.name for stage in stages for gpu in stage.devices)),
        created_at=record.created_at,
        stages=stages,
    )


def _sha256(path: Path) -> str | None:
    with suppress(*NO_FILE):
        return hashlib.sha256(read_plain(path)).hexdigest()
    return None


def _seeds(files: DatasetFiles, record: RunRecord) -> str:
    """The split that was used, and what was seeded beside it."""
    split = ""
    with suppress(RunError, *NO_FILE):
        split = f"{told}. " if record.fold != "full" and (told := split_told(files, used=True)) else ""
    changes = record.training.request.changes if record.training is not None else ()
    seed = next((change for change in changes if change.startswith("seed=")), None)
    return f"{split}{NO_SEED if seed is None else OWN_SEED.format(seed=seed)}."


def _raw_identity(files: DatasetFiles) -> str | None:
    with suppress(*NO_FILE):
        return raw_identity(files)
    return None


def machine(record: RunRecord, gpus: Iterable[str]) -> Machine:
    """This machine, with the GPUs that the run was given."""
    return Machine(
        host=host_name(),
        system=platform.platform(),
        processor=platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / GB, 1),
        gpus=tuple(gpus),
        device=record.device,
    )


def _times(run: RunDir, name: str) -> StageTimes:
    state = run.stage(name).state()
    if state is None:
        return StageTimes(name=name, status="queued", started_at=None, ended_at=None, attempts=0)
    return StageTimes(
        name=name,
        status=state.status,
        started_at=state.started_at,
        ended_at=state.ended_at,
        attempts=state.attempt,
        devices=state.devices,
    )

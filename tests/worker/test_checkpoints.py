"""A resume goes on from the newest whole checkpoint, and what a GPU says never counts against a file."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_mcp.schemas.records import Epoch
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import Job, StageFailure
from nnunet_mcp.worker.training.checkpoints import load_checkpoint
from tests.kit.lab import free_port
from tests.kit.tiny import training_job

NUMBERS = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice", "seconds"), 0.5)
# What PyTorch raises where a GPU is occupied, taken or gone: all of them are RuntimeErrors.
OF_A_GPU = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 128.00 MiB."),
    RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    RuntimeError("The NVIDIA driver on your system is too old (found version 12020)."),
    RuntimeError("No CUDA GPUs are available"),
]


class Trainer:
    """As much of nnU-Net's trainer as a resume asks for; the GPU refuses where it is told to."""

    local_rank, is_ddp, device = 0, False, torch.device("cpu")

    def __init__(self, *, at_first: Exception | None = None, at_load: Exception | None = None) -> None:
        self.was_initialized, self.current_epoch = False, 0
        self.my_init_kwargs: dict[str, Any] = {"plans": {}}
        self.at_first, self.at_load = at_first, at_load

    def initialize(self) -> None:
        if self.at_first:
            raise self.at_first
        self.was_initialized = True

    def load_checkpoint(self, filename: str) -> None:
        if self.at_load:
            raise self.at_load
        self.current_epoch = torch.load(filename, weights_only=False)["current_epoch"]


@pytest.fixture
def job(settings: Settings) -> Job:
    """A fold of 900 epochs whose best one was the 650th."""
    found = training_job(settings)
    lines = [Epoch.model_validate({"epoch": epoch, **NUMBERS}).model_dump_json() for epoch in range(900)]
    found.stage.epochs_file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    for at, (path, epoch) in enumerate(((found.fold.best, 650), (found.fold.latest, 899))):
        torch.save({"network_weights": {"layer": torch.zeros(9_000)}, "current_epoch": epoch}, path)
        os.utime(path, (1e9 + at, 1e9 + at))
    return found


def resume(job: Job, trainer: Trainer) -> Trainer:
    load_checkpoint(trainer, job, resume=True, validate=False, weights=None)
    return trainer


def cut(path: Path, share: float) -> None:
    times = path.stat().st_atime, path.stat().st_mtime
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    os.utime(path, times)


@pytest.mark.parametrize("when", ["at_first", "at_load"])
@pytest.mark.parametrize("error", OF_A_GPU, ids=lambda error: str(error)[:24])
def test_what_a_gpu_refuses_is_told_as_it_is_and_loses_no_epoch(job: Job, error: Exception, when: str) -> None:
    with pytest.raises(type(error)) as told:
        resume(job, Trainer(**{when: error}))

    assert told.value is error
    assert len(job.stage.epochs()) == 900


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_the_newest_whole_checkpoint_is_gone_on_from_and_a_damaged_one_is_named(job: Job, share: float) -> None:
    assert resume(job, Trainer()).current_epoch == 899

    cut(job.fold.latest, share)

    assert resume(job, Trainer()).current_epoch == 650
    assert len(job.stage.epochs()) == 650
    assert "checkpoint_latest.pth could not be read" in (job.stage.path / "resumed.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02."])
def test_where_no_checkpoint_is_whole_nobody_is_told_to_overwrite_them(job: Job, content: bytes) -> None:
    job.fold.latest.write_bytes(content)
    torch.save({"something": "else"}, job.fold.best)

    with pytest.raises(StageFailure) as refused:
        resume(job, Trainer())

    failure = refused.value.failure
    assert "no readable checkpoint" in failure.cause
    assert "checkpoint_latest.pth" in failure.evidence and "checkpoint_best.pth" in failure.evidence
    assert "overwrite" not in failure.remedy


def test_weights_of_another_network_are_no_damage(job: Job) -> None:
    error = RuntimeError("Error(s) in loading state_dict for PlainConvUNet: size mismatch for encoder.0")

    with pytest.raises(RuntimeError, match="size mismatch"):
        resume(job, Trainer(at_load=error))


RANKS = """
import sys
from types import SimpleNamespace
import torch, torch.multiprocessing, torch.distributed
from nnunet_mcp.worker.training.checkpoints import load_checkpoint
from nnunet_mcp.worker.stage import Job

def resume(rank, run, port):
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    read = torch.load
    def unlucky(file, **options):
        if rank == 1 and "latest" in str(file):
            raise EOFError("only here")
        return read(file, **options)
    torch.load = unlucky
    trainer = SimpleNamespace(local_rank=rank, is_ddp=True, device=torch.device("cpu"), was_initialized=True)
    def load(file):
        trainer.current_epoch = read(file, weights_only=False)["current_epoch"]
    trainer.load_checkpoint = load
    load_checkpoint(trainer, Job.of(run, "train_fold_0"), resume=True, validate=False, weights=None)
    print(rank, trainer.current_epoch, flush=True)

if __name__ == "__main__":
    torch.multiprocessing.spawn(resume, args=tuple(sys.argv[1:]), nprocs=2)
"""


@pytest.mark.heavy
def test_all_ranks_go_on_from_the_checkpoint_that_rank_0_could_read(job: Job, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS, encoding="utf-8")
    command = [sys.executable, str(script), str(job.run.path), str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert sorted(done.stdout.splitlines()) == ["0 899", "1 899"], done.stderr


def test_a_file_system_that_fails_is_no_damage(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(torch, "load", fails)

    with pytest.raises(OSError, match="Input/output error"):
        resume(job, Trainer())

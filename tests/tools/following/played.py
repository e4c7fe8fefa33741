"""Runs as their files prove them, and the processes that follow them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.launch import python_command
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.schemas.records import EngineRecord, Epoch, Progress, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.following.start import FOLLOWER
from tests.kit.tiny import record_of, stage

RUN_ID = "d001-2d-f0-tttt"


def followers(folder: Path) -> list[psutil.Process]:
    """The followers of runs below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if FOLLOWER in words and any(word.startswith(str(folder)) for word in words):
                found.append(process)
        except psutil.Error:
            continue
    return found


def follower(run: RunDir, target: str) -> "subprocess.Popen[bytes]":
    """A process that follows the run, as a server starts it."""
    return subprocess.Popen(python_command(sys.executable, FOLLOWER, str(run.path), target))


def run_in(
    settings: Settings,
    state: StageState | None,
    *,
    epochs: Sequence[float] = (),
    heartbeat: float | None = None,
    run_id: str = RUN_ID,
    **record: Any,
) -> RunDir:
    """A run of one training whose supervisor is this process."""
    run = StateDir.of(settings).run(run_id)
    folder = run.stage("train_fold_0")
    folder.path.mkdir(parents=True)
    spec = stage("train_fold_0", resume=record.pop("resume", False))
    write_model(run.run_file, record_of(settings, spec, run_id=run_id, **record))
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    if state is not None:
        write_model(folder.state_file, state)
    write_model(folder.progress_file, Progress(phase="training", heartbeat=heartbeat or time.time(), epochs=100))
    add(run, enumerate(epochs))
    return run


def add(
    run: RunDir,
    losses: Iterable[tuple[int, float]],
    *,
    restored: bool = False,
    per_class: tuple[float, ...] = (0.5,),
) -> None:
    """Epochs of the training, by their number and loss."""
    for number, loss in losses:
        append_line(run.stage("train_fold_0").epochs_file, _epoch(number, loss, restored, per_class))


def _epoch(number: int, loss: float, restored: bool, per_class: tuple[float, ...]) -> Epoch:
    return Epoch(
        epoch=number,
        train_loss=loss,
        val_loss=loss,
        learning_rate=0.01,
        pseudo_dice=0.5,
        ema_pseudo_dice=0.4,
        pseudo_dice_per_class=per_class,
        seconds=1.0,
        restored=restored,
    )


def running() -> StageState:
    """The state of a stage whose process is this one."""
    return StageState(status="running", started_at=time.time(), process=mark_of(os.getpid()))

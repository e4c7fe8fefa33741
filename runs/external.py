"""Trainings that somebody started by hand with nnUNetv2_train: read-only, from nnU-Net's own files."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..schemas.runs import Status
from .datasets import FoldFiles
from .diagnosis import read_end
from .processes import STAGE_VARIABLE

EPOCH = re.compile(r": Epoch (\d+) *$", re.MULTILINE)
LOSS = re.compile(r": (train_loss|val_loss) (\S+) *$", re.MULTILINE)
COMMANDS = ("nnUNetv2_train", "run_training.py", "nnunetv2.run.run_training")
TAIL_BYTES = 65536


@dataclass(frozen=True)
class ExternalTraining:
    """A fold folder that a process outside nnunet-mcp writes or has written."""

    path: Path
    running: bool
    started: float
    epoch: int | None
    losses: dict[str, float]

    @property
    def run_id(self) -> str:
        """A stable id; the x tells it from our own runs'."""
        digest = hashlib.sha256(str(self.path).encode()).hexdigest()[:6]
        configuration = self.path.parent.name.split("__", 2)[2]
        return f"x{self.path.parent.parent.name[7:10]}-{configuration}-{self.path.name.removeprefix('fold_')}-{digest}"

    @property
    def status(self) -> Status:
        if self.running:
            return "running"
        return "success" if FoldFiles(self.path).finished() else "interrupted"


def is_external(run_id: str) -> bool:
    """Whether an id is that of a training started by hand."""
    return run_id.startswith("x")


def trained_by_hand_now(fold: Path) -> bool:
    """Whether a process outside nnunet-mcp writes this fold folder at this moment."""
    return any(_means(command, fold) for command in _foreign_commands())


def external_trainings(results: Path) -> Iterator[ExternalTraining]:
    """Fold folders without our note that have a training log, and whether somebody trains them now."""
    commands: list[list[str]] | None = None
    for fold in sorted(results.glob("Dataset*/*__*__*/fold_*")):
        if fold.parent.is_symlink() or fold.suffix or FoldFiles(fold).owner_file.exists():
            continue
        logs = sorted(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime)
        if logs:
            commands = list(_foreign_commands()) if commands is None else commands
            yield _read(fold, logs[-1], running=any(_means(command, fold) for command in commands))


def _read(fold: Path, log: Path, *, running: bool) -> ExternalTraining:
    text = read_end(log, TAIL_BYTES)
    epochs = [int(number) for number in EPOCH.findall(text)]
    losses = {name: float(value) for name, value in LOSS.findall(text)}
    return ExternalTraining(fold, running, log.stat().st_mtime, epochs[-1] if epochs else None, losses)


def _foreign_commands() -> Iterator[list[str]]:
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            by_hand = any(name in part for part in command[:3] for name in COMMANDS)
            if by_hand and STAGE_VARIABLE not in process.environ():
                yield command
        except (psutil.Error, OSError):
            continue


def _means(command: list[str], fold: Path) -> bool:
    """Whether a command line of nnUNetv2_train writes this fold folder."""
    trainer, plans, configuration = fold.parent.name.split("__", 2)
    number, name = fold.parent.parent.name[7:10], fold.parent.parent.name
    words = [part for part in command if not part.startswith("-")]
    dataset = name in words or number.lstrip("0") in words or number in words
    own_trainer = trainer == "nnUNetTrainer" or trainer in words
    own_plans = plans == "nnUNetPlans" or plans in words
    return dataset and configuration in words and fold.name.removeprefix("fold_") in words and own_trainer and own_plans

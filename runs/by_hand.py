"""Trainings that somebody started by hand with nnUNetv2_train: read from nnU-Net's own files, never changed."""

import argparse
import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psutil

from ..nnunet.datasets import FoldFiles
from ..schemas.model_name import ModelName
from ..schemas.records import Status
from .failures.diagnosis import read_end
from .processes import STAGE_VARIABLE

EPOCH = re.compile(r": Epoch (\d{1,9}) *$", re.MULTILINE)
LOSS = re.compile(r": (train_loss|val_loss) (\S+) *$", re.MULTILINE)
COMMANDS = ("nnUNetv2_train", "run_training.py", "nnunetv2.run.run_training")
TAIL_BYTES = 65536


@dataclass(frozen=True)
class ExternalTraining:
    """A fold folder that a process outside nnunet-mcp writes, or has written."""

    path: Path
    running: bool
    started: float
    epoch: int | None
    losses: dict[str, float]

    @property
    def run_id(self) -> str:
        """A stable id; its x marks it as a training that is not ours."""
        digest = hashlib.sha256(str(self.path).encode()).hexdigest()[:6]
        configuration = ModelName.parse(self.path.parent.name).configuration
        return f"x{self.path.parent.parent.name[7:10]}-{configuration}-{self.path.name.removeprefix('fold_')}-{digest}"

    @property
    def status(self) -> Status:
        if self.running:
            return "running"
        return "success" if FoldFiles(self.path).finished() else "interrupted"


def is_external(run_id: str) -> bool:
    """Whether an id is one of a training started by hand."""
    return run_id.startswith("x")


def trained_by_hand_now(fold: Path) -> bool:
    """Whether a process outside nnunet-mcp writes this fold folder now."""
    return any(_means(command, fold) for command in _foreign_commands())


def external_trainings(results: Path) -> list[ExternalTraining]:
    """Fold folders without our note that have a training log, and whether they are being trained now."""
    commands: list[list[str]] | None = None
    found = []
    for fold in sorted(results.glob("Dataset*/*__*__*/fold_*")):
        with suppress(OSError):  # a folder that is removed meanwhile or cannot be read must not hide the others
            if fold.parent.is_symlink() or fold.suffix or FoldFiles(fold).owner_file.exists():
                continue
            if (newest := _newest_log(fold)) is not None:
                commands = list(_foreign_commands()) if commands is None else commands
                found.append(_read(fold, *newest, running=any(_means(command, fold) for command in commands)))
    return found


def _newest_log(fold: Path) -> tuple[Path, float] | None:
    """The training log that was written last, and when. Only regular files count."""
    logs = [(path, path.stat().st_mtime) for path in fold.glob("training_log_*.txt") if path.is_file()]
    return max(logs, key=lambda log: log[1], default=None)


def _read(fold: Path, log: Path, written: float, *, running: bool) -> ExternalTraining:
    text = read_end(log, TAIL_BYTES)
    epochs = [int(number) for number in EPOCH.findall(text)]
    losses: dict[str, float] = {}
    for name, value in LOSS.findall(text):
        with suppress(ValueError):  # the user's own trainer may write anything into its log
            losses[name] = float(value)
    return ExternalTraining(fold, running, written, epochs[-1] if epochs else None, losses)


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
    """Whether a command line of nnUNetv2_train would write this fold folder."""
    asked = _parsed(command)
    if asked is None:
        return False
    same_dataset = fold.parent.parent.name == asked.dataset or fold.parent.parent.name[7:10] == asked.dataset.zfill(3)
    model = str(ModelName(asked.tr, asked.p, asked.configuration))
    return same_dataset and (fold.parent.name, fold.name) == (model, f"fold_{asked.fold}")


def _parsed(command: list[str]) -> argparse.Namespace | None:
    """The arguments as nnU-Net's own parser reads them (nnunetv2 2.8.1, run_training.py:212-245); None where it would
    refuse them."""
    begins = next((n for n, part in enumerate(command[:3]) if any(name in part for name in COMMANDS)), 2)
    parser = _Parser(add_help=False, exit_on_error=False)
    for name in ("dataset", "configuration", "fold"):
        parser.add_argument(name)
    for name, default in (("tr", "nnUNetTrainer"), ("p", "nnUNetPlans")):
        parser.add_argument(f"-{name}", default=default)
    for name in ("pretrained_weights", "num_gpus", "device"):
        parser.add_argument(f"-{name}")
    for name in ("npz", "c", "val", "val_best", "disable_checkpointing"):
        parser.add_argument(f"--{name}", action="store_true")
    try:
        return parser.parse_known_args(command[begins + 1 :])[0]
    except argparse.ArgumentError:
        return None


class _Parser(argparse.ArgumentParser):
    """A parser that neither prints nor exits: it reads other processes' command lines."""

    def error(self, message: str) -> NoReturn:
        raise argparse.ArgumentError(None, message)

"""What trackers are told of a training: its parameters, its epochs, and in the end its Dice and its worst case.

A training that is resumed goes on under the key of the run that began it:

<fold folder>/nnunet_mcp_tracked.json     that key, and when the run was started that tells now
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from ...errors import RunError
from ...files import read_model, write_model
from ...nnunet.datasets import DatasetFiles
from ...schemas.records import Epoch, RunRecord, StageSpec, Status
from ...texts import fold_name, told_apart

# What else has a Dice, beside the classes.
RESERVED = ("mean", "moving_average")


class Began(BaseModel):
    """Under which key a fold's training is told, and when the run was started that tells now."""

    key: str
    told_since: float = 0.0


@dataclass(frozen=True)
class Training:
    """The training of one fold. `folder` is its place among others, `key` is its own for ever; `classes` has the names
    under which trackers show them, in nnU-Net's order."""

    key: str
    dataset: str
    folder: str
    title: str
    parameters: Mapping[str, str]
    classes: Mapping[str, str]
    started_at: float


@dataclass(frozen=True)
class End:
    """How a training ended: its Dice by the names of trackers, and a picture of its worst case where there is one."""

    status: Status
    at: float
    dice: Mapping[str, float]
    picture: bytes | None


class Tracker(Protocol):
    """A place where trainings are looked at."""

    def begin(self, training: Training) -> int:
        """Begin or go on; returns how many epochs are there."""
        ...

    def epochs(self, training: Training, epochs: Sequence[Epoch]) -> None:
        """Add epochs."""
        ...

    def end(self, training: Training, end: End) -> None:
        """Add how it ended."""
        ...


def is_told_by_a_newer_run(record: RunRecord, spec: StageSpec) -> bool:
    """Whether a run that was started later trains the fold, so that this one must not touch what trackers show."""
    before = read_model(_file(record, spec), Began)
    return before is not None and before.told_since > record.created_at


def training_of(record: RunRecord, spec: StageSpec, started_at: float) -> Training:
    """The training that a stage carries out or goes on with; its fold folder is there."""
    files = DatasetFiles(record.folders, record.dataset_name)
    fold, classes = files.fold_of(record, spec), files.classes()
    return Training(
        key=_key(record, spec),
        dataset=record.dataset_name,
        folder=f"{record.dataset_name}/{fold.parent.name}/{fold.name}",
        title=f"{spec.configuration} fold {fold_name(spec.fold)}, {record.trainer}",
        parameters=_parameters(record, spec, files),
        classes=dict(zip(classes, told_apart([plain(name) for name in classes], RESERVED), strict=True)),
        started_at=started_at,
    )


def _key(record: RunRecord, spec: StageSpec) -> str:
    file = _file(record, spec)
    before = read_model(file, Began) if spec.resume else None
    now = Began(key=before.key if before else f"{record.run_id}/{spec.name}", told_since=record.created_at)
    if now != before:
        write_model(file, now)
    return now.key


def _file(record: RunRecord, spec: StageSpec) -> Path:
    return DatasetFiles(record.folders, record.dataset_name).fold_of(record, spec) / "nnunet_mcp_tracked.json"


def _parameters(record: RunRecord, spec: StageSpec, files: DatasetFiles) -> dict[str, str]:
    """What the training was asked to be, and what its plans say."""
    changes = record.training.request.changes if record.training else ()
    known = {
        "dataset": record.dataset_name,
        "configuration": spec.configuration,
        "fold": fold_name(spec.fold),
        "trainer": record.trainer,
        "plans": record.plans_identifier,
        "changes": " ".join(changes or ()),
        "device": record.device,
        "gpus": record.num_gpus if record.device == "cuda" else None,
        **{f"version_{name}": version for name, version in record.versions.items()},
        **_planned(files, record.plans_identifier, spec.configuration),
    }
    return {name: str(value) for name, value in known.items() if value}


def _planned(files: DatasetFiles, plans: str, configuration: str) -> dict[str, Any]:
    """Patch, batch and spacing; nothing where plans cannot be read."""
    try:
        found = (files.plans(plans) or {})["configurations"][configuration]
    except (RunError, OSError, KeyError):
        return {}
    return {name: found.get(name) for name in ("patch_size", "batch_size", "spacing")}


def per_epoch(epoch: Epoch, training: Training) -> dict[str, float]:
    """An epoch's numbers by the names under which trackers show them; those that are unknown are left out."""
    count = len(epoch.pseudo_dice_per_class)
    names = list(training.classes.values())
    if len(names) != count:
        names = [f"class {place + 1}" for place in range(count)]
    known = {
        "loss/train": epoch.train_loss,
        "loss/val": epoch.val_loss,
        "pseudo_dice/mean": epoch.pseudo_dice,
        "pseudo_dice/moving_average": epoch.ema_pseudo_dice,
        **{f"pseudo_dice/{name}": value for name, value in zip(names, epoch.pseudo_dice_per_class, strict=True)},
        "learning_rate": epoch.learning_rate,
        "epoch_s": epoch.seconds,
    }
    return {name: value for name, value in known.items() if value is not None}


def plain(name: str) -> str:
    """A class's name in letters that every tracker takes."""
    return re.sub(r"[^\w .-]", "_", name, flags=re.ASCII)

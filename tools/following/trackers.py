"""Tell a tracker of every training of a run: its parameters, its epochs, and in the end its Dice and its worst case.

What the tracker already has is asked of the tracker, so what it missed while it was down is told later. A training that
is resumed goes on under the key of the run that began it:

<fold folder>/nnunet_mcp_tracked.json     that key
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...errors import RunError
from ...files import Stamp, read_model, stamp, write_model
from ...nnunet.datasets import DatasetFiles
from ...runs.result import model_outcome
from ...schemas.base import Record
from ...schemas.outcomes import ModelOutcome
from ...schemas.plots import PlotRequest
from ...schemas.records import ACTIVE, Epoch, RunRecord, StageSpec, Status
from ...settings import Settings
from ...texts import fold_name
from ..plots.plots import nnunet_plot
from ..watching.snapshot import RunSnapshot
from .targets import Untellable, lacking, trackers


class Began(Record):
    """Under which key a fold's training is told."""

    key: str


@dataclass(frozen=True)
class Training:
    """The training of one fold. `folder` is its place among others, `key` is its own for ever."""

    key: str
    dataset: str
    folder: str
    title: str
    parameters: Mapping[str, str]
    classes: Sequence[str]


@dataclass(frozen=True)
class End:
    """How a training ended: its Dice per class, and a picture of its worst case where there is one."""

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


def tracking(target: str, settings: Settings) -> "Tracking":
    """What tells this tracker, which is imported now.

    Raises:
        Untellable: its package is not installed.
    """
    where = trackers(settings)[target]
    try:
        return Tracking(MAKERS[target](where, settings.state_dir), settings)
    except ImportError:
        raise Untellable(lacking(target)) from None


def _tensorboard(where: str, state: Path) -> Tracker:
    from .to_tensorboard import TensorBoard

    return TensorBoard(Path(where).expanduser() if where else state / "tensorboard")


def _mlflow(where: str, state: Path) -> Tracker:
    from .to_mlflow import MLflow

    return MLflow(where or str(state / "mlflow"))


MAKERS: Mapping[str, Callable[[str, Path], Tracker]] = {"tensorboard": _tensorboard, "mlflow": _mlflow}


@dataclass
class Told:
    """How far a tracker is with one training."""

    training: Training
    epochs: int
    seen: tuple[Stamp | None, Status] | None = None


@dataclass
class Tracking:
    """Tells one tracker of the trainings of a run."""

    tracker: Tracker
    settings: Settings
    told: dict[str, Told] = field(default_factory=dict)

    def tell(self, view: RunSnapshot) -> bool:
        """Tell what is new; returns whether there will be no more."""
        for spec in view.record.stages:
            if spec.traits.trains and not spec.reused:
                try:
                    self._tell(view, spec)
                except BaseException:  # it may have arrived all the same: the tracker is asked again
                    self.told.pop(spec.name, None)
                    raise
        return view.judged.status not in ACTIVE

    def _tell(self, view: RunSnapshot, spec: StageSpec) -> None:
        status, stage = view.judged.stages[spec.name], view.run.stage(spec.name)
        seen = stamp(str(stage.epochs_file)), status
        told = self.told.get(spec.name)
        if seen[0] is None or (told is not None and told.seen == seen):
            return
        epochs = stage.epochs()
        if told is None:
            training = training_of(view.record, spec)
            told = self.told.setdefault(spec.name, Told(training, self.tracker.begin(training)))
        if new := [epoch for epoch in epochs if epoch.epoch >= told.epochs]:
            self.tracker.epochs(told.training, new)
            told.epochs = new[-1].epoch + 1
        if status not in ACTIVE:
            self.tracker.end(told.training, self._end(view, spec, status))
        told.seen = seen

    def _end(self, view: RunSnapshot, spec: StageSpec, status: Status) -> End:
        state, outcome = view.run.stage(spec.name).state(), model_outcome(view.run, view.record, spec)
        at = state.ended_at if state is not None and state.ended_at is not None else view.record.created_at
        if status != "success" or outcome is None:
            return End(status, at, {}, None)
        return End(status, at, _dice(outcome), self._picture(view, outcome))

    def _picture(self, view: RunSnapshot, outcome: ModelOutcome) -> bytes | None:
        measured = [case for case in outcome.cases if case.dice is not None]
        if not measured:
            return None
        worst = min(measured, key=lambda case: case.dice or 0.0)
        request = PlotRequest(kind="overlay", run_id=view.record.run_id, case=worst.case)
        try:
            return nnunet_plot(request, self.settings).png
        except RunError:
            return None


def _dice(outcome: ModelOutcome) -> dict[str, float]:
    whole = {"mean": outcome.metrics.dice if outcome.metrics else None}
    named = {**{line.label: line.dice for line in outcome.per_class}, **whole}
    return {name: value for name, value in named.items() if value is not None}


def training_of(record: RunRecord, spec: StageSpec) -> Training:
    """The training that a stage carries out or goes on with; its fold folder is there."""
    files = DatasetFiles(record.folders, record.dataset_name)
    fold = files.fold_of(record, spec)
    return Training(
        key=_key(fold, f"{record.run_id}/{spec.name}", resumes=spec.resume),
        dataset=record.dataset_name,
        folder=f"{record.dataset_name}/{fold.parent.name}/{fold.name}",
        title=f"{spec.configuration} fold {fold_name(spec.fold)}, {record.trainer}",
        parameters=_parameters(record, spec, files),
        classes=files.classes(),
    )


def _key(fold: Path, own: str, *, resumes: bool) -> str:
    file = fold / "nnunet_mcp_tracked.json"
    before = read_model(file, Began) if resumes else None
    if before is None:
        write_model(file, Began(key=own))
    return before.key if before else own


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


def per_epoch(epoch: Epoch, classes: Sequence[str]) -> dict[str, float]:
    """An epoch's numbers by the names under which trackers show them; those that are unknown are left out."""
    named = len(classes) == len(epoch.pseudo_dice_per_class)
    known = {
        "loss/train": epoch.train_loss,
        "loss/val": epoch.val_loss,
        "pseudo_dice/mean": epoch.pseudo_dice,
        "pseudo_dice/moving_average": epoch.ema_pseudo_dice,
        **{
            f"pseudo_dice/{plain(classes[place]) if named else f'class {place + 1}'}": value
            for place, value in enumerate(epoch.pseudo_dice_per_class)
        },
        "learning_rate": epoch.learning_rate,
        "epoch_s": epoch.seconds,
    }
    return {name: value for name, value in known.items() if value is not None}


def plain(name: str) -> str:
    """A class's name in letters that every tracker takes."""
    return re.sub(r"[^\w .-]", "_", name, flags=re.ASCII)

"""How fast this machine trained before: seconds per epoch, and the time besides the epochs, from earlier runs."""

import math
import statistics
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ..errors import Refused
from ..files import read_json
from ..nnunet.datasets import DatasetFiles
from ..nnunet.preprocessed import planned
from ..schemas.model_name import ModelName
from ..schemas.records import USUAL_EPOCHS, RunRecord, StageSpec
from .layout import RunDir, StateDir
from .pace import warm
from .store import newest_runs

RUNS_LOOKED_AT = 100
EPOCHS_LOOKED_AT = 200
FEWEST_EPOCHS = 2  # beside the first one
SAME_DATA = ("dataset_name", "plans_identifier", "host")
# Epochs, iterations and validation iterations (nnunetv2 2.8.1, nnUNetTrainer.py:157-159).
USUAL_TRAINER, USUAL_COUNTS = "nnUNetTrainer", (USUAL_EPOCHS, 250, 50)
COUNTS = ("num_epochs", "num_iterations_per_epoch", "num_val_iterations_per_epoch")
SAME_SPEED = ("trainer", "device", "num_gpus", "bf16")


@dataclass(frozen=True)
class Speed:
    """One earlier training, in seconds: the median of its epochs, with their 10th and 90th percentile."""

    run_id: str
    epochs: int
    epoch_s: float
    low_s: float
    high_s: float
    around_s: float | None  # time besides the epochs; null if the training did not finish


def earlier_training(state: StateDir, like: RunRecord, spec: StageSpec) -> Speed | None:
    """The newest training of the same dataset, plans, configuration, trainer, device and precision on this host."""
    alike = (
        _speed(run, other)
        for run, record in _alike(state, like, names=(*SAME_DATA, *SAME_SPEED))
        for other in record.stages
        if other.traits.trains and other.configuration == spec.configuration and not other.reused
    )
    return next((speed for speed in alike if speed is not None), None)


@dataclass(frozen=True)
class Work:
    """What the epochs of a training compute."""

    epochs: int
    iterations: int
    validation_iterations: int
    patch_size: tuple[int, ...]
    batch_size: int

    @property
    def of_epoch(self) -> float:
        """Voxels of an epoch; a validation step has no backward pass, which is two thirds of a training step."""
        steps = self.iterations + self.validation_iterations / 3
        return steps * self.batch_size * math.prod(self.patch_size)


def scaled_training(state: StateDir, like: RunRecord, work: Work) -> Speed | None:
    """The newest training on this host whose epochs can be scaled to `work`: as many axes, any trainer and dataset."""
    for run, record in _alike(state, like, names=("host", "device", "num_gpus", "bf16")):
        for spec in record.stages:
            speed = _speed(run, spec) if spec.traits.trains and not spec.reused else None
            other = _work(record, spec) if speed is not None else None
            if speed and other and len(other.patch_size) == len(work.patch_size) and other.of_epoch:
                by = work.of_epoch / other.of_epoch
                times = (speed.epoch_s * by, speed.low_s * by, speed.high_s * by)
                around = speed.around_s if record.dataset_name == like.dataset_name else None
                return Speed(speed.run_id, work.epochs, *times, around)
    return None


def _work(record: RunRecord, spec: StageSpec) -> Work | None:
    """What an earlier training computed, from the plans and from debug.json, which nnU-Net writes into the fold folder
    (nnunetv2 2.8.1, nnUNetTrainer.py:308-347)."""
    files = DatasetFiles(record.folders, record.dataset_name)
    debug = read_json(files.fold_of(record, spec) / "debug.json")
    with suppress(Refused, KeyError, TypeError, ValueError):
        plan = planned(files.plans(record.plans_identifier) or {}, spec.configuration)
        if plan is not None and isinstance(debug, dict):
            epochs, train, validation = (int(debug[name]) for name in COUNTS)
            return Work(epochs, train, validation, tuple(plan["patch_size"]), int(plan["batch_size"]))
    return None


def pass_of_training(state: StateDir, like: RunRecord, model: ModelName) -> tuple[str, float] | None:
    """The newest training of this model on this host, and the seconds in which it computed one patch forwards."""
    for run, record in _alike(state, like, names=("dataset_name", "host", "device")):
        for other in record.stages:
            trained = ModelName(record.trainer, record.plans_identifier, other.configuration)
            if not other.traits.trains or other.reused or trained != model:
                continue
            speed, work = _speed(run, other), _work(record, other)
            if speed and work and work.of_epoch:
                # forwards is a third of a step, and GPUs share the patches of a batch
                patches = 3 * work.of_epoch / math.prod(work.patch_size) / record.num_gpus
                return speed.run_id, speed.epoch_s / patches
    return None


def usual_work(record: RunRecord, spec: StageSpec) -> Work | None:
    """What a training with nnU-Net's own trainer will compute, by its plans; None for another trainer."""
    plans = DatasetFiles(record.folders, record.dataset_name).plans(record.plans_identifier)
    plan = planned(plans or {}, spec.configuration)
    if record.trainer != USUAL_TRAINER or plan is None:
        return None
    with suppress(KeyError, TypeError, ValueError):
        return Work(*USUAL_COUNTS, tuple(plan["patch_size"]), int(plan["batch_size"]))
    return None


def earlier_preprocessing(state: StateDir, like: RunRecord, configuration: str) -> float | None:
    """Seconds that preprocessing took the last time it was done here for these plans."""
    alike = (
        _duration(run, spec)
        for run, record in _alike(state, like, names=SAME_DATA)
        for spec in record.stages
        if spec.traits.preprocesses and spec.configuration == configuration and not spec.reused
    )
    return next((seconds for seconds in alike if seconds is not None), None)


def _alike(state: StateDir, like: RunRecord, *, names: tuple[str, ...]) -> Iterator[tuple[RunDir, RunRecord]]:
    for run in newest_runs(state, limit=RUNS_LOOKED_AT):
        record = run.record()
        if record is not None and all(getattr(record, name) == getattr(like, name) for name in names):
            yield run, record


def _speed(run: RunDir, spec: StageSpec) -> Speed | None:
    stage = run.stage(spec.name)
    epochs = stage.recent_epochs(EPOCHS_LOOKED_AT)
    seconds = [epoch.seconds for epoch in warm(epochs) if epoch.seconds is not None and not epoch.restored]
    progress = stage.progress()
    if len(seconds) < FEWEST_EPOCHS or progress is None or progress.epochs is None:
        return None
    deciles = statistics.quantiles(seconds, n=10, method="inclusive")
    whole = _duration(run, spec)
    trained = sum(epoch.seconds or 0.0 for epoch in stage.epochs() if not epoch.restored)
    around = max(0.0, whole - trained) if whole is not None else None
    return Speed(run.run_id, progress.epochs, statistics.median(seconds), deciles[0], deciles[-1], around)


def _duration(run: RunDir, spec: StageSpec) -> float | None:
    state = run.stage(spec.name).state()
    return state.seconds if state is not None and state.status == "success" else None

"""How fast this machine trained before: seconds per epoch, and the time besides the epochs, from earlier runs."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from ..schemas.records import RunRecord, StageSpec
from .layout import RunDir, StateDir
from .pace import warm
from .store import newest_runs

RUNS_LOOKED_AT = 100
EPOCHS_LOOKED_AT = 200
FEWEST_EPOCHS = 2  # beside the first one


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
        for run, record in _alike(state, like)
        for other in record.stages
        if other.traits.trains and other.configuration == spec.configuration and not other.reused
    )
    return next((speed for speed in alike if speed is not None), None)


def earlier_preprocessing(state: StateDir, like: RunRecord, configuration: str) -> float | None:
    """Seconds that preprocessing took the last time it was done here for these plans."""
    alike = (
        _duration(run, spec)
        for run, record in _alike(state, like, trainer=False)
        for spec in record.stages
        if spec.traits.preprocesses and spec.configuration == configuration and not spec.reused
    )
    return next((seconds for seconds in alike if seconds is not None), None)


def _alike(state: StateDir, like: RunRecord, *, trainer: bool = True) -> Iterator[tuple[RunDir, RunRecord]]:
    own = ("trainer", "device", "num_gpus", "bf16") if trainer else ()
    names = ("dataset_name", "plans_identifier", "host", *own)
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

"""How many folds of a run train side by side."""

from ...runs.machine.gpus import MACHINE, visible
from ...schemas.records import RunRecord
from ...settings import Settings

# How many GPUs there are changes seldom, and whoever follows a run asks every few seconds.
KNOWN_S = 600.0


def lanes(record: RunRecord, settings: Settings, trainings: int) -> int:
    """At most this many of `trainings` folds at once: by Slurm's limit, or by the GPUs of this machine."""
    if trainings <= 1:
        return 1
    if record.engine == "slurm":
        return min(trainings, int(record.slurm.get("parallel", trainings)))
    if record.device != "cuda":
        return 1
    gpus, _ = visible(MACHINE.look(settings.nnunet_python, max_age_s=KNOWN_S), settings.gpus)
    return max(1, min(trainings, len(gpus) * settings.share_gpus // record.num_gpus))


def scheduled(begun: list[float], waiting: list[float], side_by_side: int) -> float:
    """Seconds until all is done: what has begun goes on, and what waits takes the lane that is free first."""
    free = sorted(begun + [0.0] * (side_by_side - len(begun)))
    for seconds in waiting:
        free = sorted([free[0] + seconds, *free[1:]])
    return max(free, default=0.0)

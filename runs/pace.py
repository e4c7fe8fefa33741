"""How fast a training is: the median time of its recent epochs, without the slow first one of each process. And how
long several trainings take that share lanes."""

import statistics
from collections.abc import Sequence

from ..schemas.records import Epoch, Progress

RECENT = 5


def pace(epochs: Sequence[Epoch], *, recent: int = RECENT) -> float | None:
    """Seconds of a usual epoch; null before the first has ended.

    While a process has only one epoch, the time of its compilation is subtracted. Epochs that a checkpoint brought
    along may come from other hardware, so they count only until there is one of our own.
    """
    timed = [epoch for epoch in epochs if epoch.seconds is not None]
    usual = warm(timed) or timed
    own = [epoch for epoch in usual if not epoch.restored]
    times = [(e.seconds or 0.0) - (e.compile_s or 0.0) for e in own or usual]
    return statistics.median(times[-recent:]) if times else None


def pace_of_steps(progress: Progress | None) -> float | None:
    """Seconds of an epoch by the steps of the first one, while that still goes on."""
    if progress is None or progress.since is None or not progress.iteration or not progress.iterations:
        return None
    return (progress.heartbeat - progress.since) * progress.iterations / progress.iteration


def warm(epochs: Sequence[Epoch]) -> list[Epoch]:
    """All epochs but the first of each process, which compiles and fills caches."""
    pairs = zip(epochs, [None, *epochs], strict=False)
    return [epoch for epoch, before in pairs if not _is_first(epoch, before)]


def _is_first(epoch: Epoch, before: Epoch | None) -> bool:
    resumed = before is not None and before.restored and not epoch.restored
    return epoch.epoch == 0 or epoch.compile_s is not None or resumed


def scheduled(begun: list[float], waiting: list[float], side_by_side: int) -> float:
    """Seconds until all trainings are done: running ones go on, each waiting one takes the next free lane."""
    free = sorted(begun + [0.0] * (side_by_side - len(begun)))
    for seconds in waiting:
        free = sorted([free[0] + seconds, *free[1:]])
    return max(free, default=0.0)

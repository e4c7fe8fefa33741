"""Long histories as short curves: real epochs, never averages, and the last one always."""

import math
from collections.abc import Sequence

from ...nnunet.datasets import DatasetFiles
from ...runs.layout import RunDir
from ...schemas.dashboard import Curves
from ...schemas.records import Epoch, RunRecord
from ...texts import short, told_apart

# Together they keep the page's data under 30 kB, whatever the number of stages.
POINTS_OF_A_STAGE = 200
POINTS_OF_A_RUN = 500
# More lines cannot be told apart.
CLASSES_DRAWN = 8
LABEL_CHARACTERS = 40
STEPS = tuple(digit * 10**power for power in range(9) for digit in (1, 2, 5))
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24


def curves_of(run: RunDir, record: RunRecord, *, classes: bool = False) -> tuple[Curves, ...]:
    """The curves of every stage that has finished an epoch; with `classes` also those of each class."""
    found = [(spec.name, epochs) for spec in record.stages if (epochs := run.stage(spec.name).epochs())]
    limit = min(POINTS_OF_A_STAGE, POINTS_OF_A_RUN // max(1, len(found)))
    labels = DatasetFiles(record.folders, record.dataset_name).classes()[:CLASSES_DRAWN] if classes else []
    return tuple(_curves(run, name, epochs, limit, labels) for name, epochs in found)


def _curves(run: RunDir, stage: str, epochs: Sequence[Epoch], limit: int, labels: Sequence[str]) -> Curves:
    progress = run.stage(stage).progress()
    every, shown = thinned(epochs, limit)
    return Curves(
        stage=stage,
        epochs=progress.epochs if progress else None,
        every=every,
        epoch=tuple(epoch.epoch + 1 for epoch in shown),
        train_loss=tuple(_short(epoch.train_loss) for epoch in shown),
        val_loss=tuple(_short(epoch.val_loss) for epoch in shown),
        pseudo_dice=tuple(_short(epoch.pseudo_dice) for epoch in shown),
        ema_pseudo_dice=tuple(_short(epoch.ema_pseudo_dice) for epoch in shown),
        classes={
            label: tuple(_of_class(epoch, number) for epoch in shown)
            for number, label in enumerate(told_apart([short(label, LABEL_CHARACTERS) for label in labels]))
        },
    )


def _of_class(epoch: Epoch, number: int) -> float | None:
    found = epoch.pseudo_dice_per_class
    return _short(found[number]) if number < len(found) else None


def thinned(epochs: Sequence[Epoch], limit: int) -> tuple[int, list[Epoch]]:
    """At most `limit` epochs and their distance; chosen by number, so that a growing curve keeps its points."""
    finished = epochs[-1].epoch + 1
    every = next(step for step in STEPS if math.ceil(finished / step) <= limit)
    return every, [epoch for epoch in epochs[:-1] if (epoch.epoch + 1) % every == 0] + [epochs[-1]]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def sparkline(values: Sequence[float | None], width: int = SPARK_WIDTH) -> str:
    """The values as a line of blocks, a gap where there is none."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    count = min(width, len(values))
    chosen = [values[round(i * (len(values) - 1) / max(1, count - 1))] for i in range(count)]
    top = len(SPARKS) - 1
    scale = top / (high - low) if high > low else 0.0
    return "".join(" " if v is None else SPARKS[round((v - low) * scale)] for v in chosen)

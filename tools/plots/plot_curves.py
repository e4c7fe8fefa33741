"""Gather the learning curves of runs for a picture."""

from collections.abc import Sequence
from itertools import pairwise

from ...calls import call
from ...errors import NotFound
from ...nnunet.datasets import DatasetFiles
from ...nnunet.summary import finite
from ...runs.layout import RunDir, StateDir
from ...runs.store import find_run
from ...schemas.plots import Curve, CurvesPicture, Numbers, Picture, PlotRequest
from ...schemas.records import Epoch, RunRecord
from ...settings import Settings
from ...texts import clean, numbered, some, told_apart

MAX_CURVES = 10
CLASSES_NAMED = 5
# nnU-Net's moving average of the pseudo Dice (2.8.1, nnunet_logger.py:76).
KEPT = 0.9


def curves(request: PlotRequest, settings: Settings) -> tuple[Picture, str]:
    """The trainings of one run, or of several over each other.

    Raises:
        NotFound: no such run, or none of its epochs has ended.
    """
    state = StateDir.of(settings)
    run_ids = list(dict.fromkeys([str(request.run_id), *request.with_run_ids]))
    by_run = {run_id: _curves_of(*find_run(state, run_id), alone=len(run_ids) == 1) for run_id in run_ids}
    found = [curve for curves in by_run.values() for curve in curves]
    if not found:
        raise NotFound(
            f"{' and '.join(run_ids)} has no epoch yet, so there is no curve. {call('nnunet_progress')} says what "
            "it is doing."
        )
    shown = tuple(found[:MAX_CURVES])
    left_out = _left_out([run_id for run_id, curves in by_run.items() if not curves], found[MAX_CURVES:])
    drawn = [run_id for run_id, curves in by_run.items() if curves]
    title = drawn[0] if len(drawn) == 1 else f"{len(drawn)} runs"
    title = f"{title}, {shown[0].label}" if len(shown) == 1 else title
    return CurvesPicture(title=title, theme=request.theme, curves=shown), _curves_text(shown) + left_out


def _left_out(without: list[str], over: list[Curve]) -> str:
    """Which of the runs the picture does not show, and why."""
    why = [(without, "no epoch has ended yet"), ([curve.label for curve in over], f"at most {MAX_CURVES} are drawn")]
    return "".join(f" Left out, because {reason}: {some(names)}." for names, reason in why if names)


def _curves_of(run: RunDir, record: RunRecord, *, alone: bool) -> list[Curve]:
    curves = []
    names = DatasetFiles(record.folders, record.dataset_name).classes() if alone else None
    for spec in record.stages:
        epochs = run.stage(spec.name).epochs() if spec.traits.trains else []
        if epochs:
            fold = spec.name.removeprefix("train_").replace("_", " ")
            curves.append(_curve(fold if alone else f"{record.run_id} {fold}", epochs, names))
    return curves


def _curve(label: str, epochs: list[Epoch], names: list[str] | None) -> Curve:
    pairs = pairwise(epochs)
    resumed = tuple(later.epoch + 1 for before, later in pairs if before.restored and not later.restored)
    return Curve(
        label=label,
        epochs=tuple(epoch.epoch + 1 for epoch in epochs),
        train_loss=tuple(finite(epoch.train_loss) for epoch in epochs),
        val_loss=tuple(finite(epoch.val_loss) for epoch in epochs),
        pseudo_dice=tuple(finite(epoch.pseudo_dice) for epoch in epochs),
        moving_average=tuple(finite(epoch.ema_pseudo_dice) for epoch in epochs),
        learning_rate=tuple(finite(epoch.learning_rate) for epoch in epochs),
        classes={} if names is None else _per_class(epochs, names),
        resumed_at=resumed,
    )


def _per_class(epochs: list[Epoch], names: list[str]) -> dict[str, Numbers]:
    """The moving average of each class by its name; epochs of other classes have none."""
    count = len(epochs[-1].pseudo_dice_per_class)
    named = [*names, *(f"class {number + 1}" for number in range(len(names), count))][:count]
    lines = [epoch.pseudo_dice_per_class for epoch in epochs]
    return {
        name: _average([finite(line[number]) if len(line) == count else None for line in lines])
        for number, name in enumerate(told_apart([clean(name) for name in named]))
    }


def _average(values: Sequence[float | None]) -> Numbers:
    """As nnU-Net averages the mean over classes; an epoch whose patches lack the class changes nothing."""
    found: list[float | None] = []
    for value in values:
        before = found[-1] if found else None
        found.append(before if value is None else value if before is None else KEPT * before + (1 - KEPT) * value)
    return tuple(found)


def _curves_text(curves: tuple[Curve, ...]) -> str:
    said = []
    for curve in curves:
        average = curve.moving_average[-1]
        last = f", moving average of the pseudo Dice {average:.3f}" if average is not None else ""
        resumed = f", resumed at {some([str(epoch) for epoch in curve.resumed_at])}" if curve.resumed_at else ""
        said.append(f"{curve.label}: {numbered(len(curve.epochs), 'epoch')}{resumed}{last}")
    patches = ". pseudo Dice is nnU-Net's estimate on patches, not the Dice."
    return "Learning curves. " + "; ".join(said) + patches + (_classes_text(curves[0]) if len(curves) == 1 else "")


def _classes_text(curve: Curve) -> str:
    ended = sorted((values[-1], name) for name, values in curve.classes.items() if values[-1] is not None)
    named = some([f"{clean(name, 40)} {value:.3f}" for value, name in ended], CLASSES_NAMED)
    return f" Moving average of each class, lowest first: {named}." if named else ""

"""The part of a report that puts several trainings side by side, as nnunet_compare does."""

from typing import Any

from ...schemas.models import CompareAnswer
from ...texts import opening
from . import tables
from .names import Names


def comparison(found: CompareAnswer, names: Names) -> dict[str, Any]:
    """The models in a table, and each pair's verdict with its numbers."""
    head = ("model", "folds", "cases", "Dice", "over folds", "IoU", "epochs")
    rows = tuple(
        (
            names.own(model.name),
            ", ".join(model.folds),
            str(model.cases),
            tables.shown(model.dice),
            model.dice_mean_sd or tables.UNKNOWN,
            tables.shown(model.iou),
            str(model.epochs or tables.UNKNOWN),
        )
        for model in found.models
    )
    verdicts = [
        f"{opening(one.verdict)}: difference {one.difference:.4f}, 95 % interval {one.low:.4f} to "
        f"{one.high:.4f}, p {one.p:.4f}."
        for one in found.differences
    ]
    return {
        "table": tables.Table(head, rows),
        "verdicts": [*map(names.own, verdicts), *map(names, found.notes)],
        "method": names.own(_of_differences(found)),
    }


def _of_differences(found: CompareAnswer) -> str:
    """How they were tested; the answer's own fields, which its method explains first, are none of the report's."""
    return "".join(found.method.partition("differences: ")[1:])

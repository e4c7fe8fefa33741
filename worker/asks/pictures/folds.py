"""Dice of every validation case per class, fold beside fold: a box with the cases as points."""

from typing import Any

import numpy
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ....schemas.plots import FoldsPicture
from ....texts import short
from .style import INK, NothingToShow, colour, columns, dress, legend, new_figure

# With more classes than this, the folds of a class are drawn as one box.
CLASSES_WITH_FOLDS = 8
NAME_CHARACTERS = 24
FEW = 4  # cases of a fold: their points are drawn larger


def draw(picture: FoldsPicture) -> Figure:
    """Classes from top to bottom, so that their names can be read."""
    boxes = _boxes(picture)
    if not any(len(values) for _, _, values in boxes):
        raise NothingToShow("No validation case has a Dice yet.")
    figure = new_figure(min(20.0, 1.6 + 0.24 * len(boxes) + 0.15 * len(picture.labels)), picture)
    axes = figure.subplots()
    random = numpy.random.default_rng(0)
    for position, number, values in boxes:
        _box(axes, position, number, values, random, INK[picture.theme])
    _finish(axes, picture, boxes)
    return figure


Box = tuple[float, int, Any]


def _boxes(picture: FoldsPicture) -> list[Box]:
    """Position on the page, colour and Dice values of each box."""
    beside = len(picture.labels) <= CLASSES_WITH_FOLDS
    found: list[Box] = []
    place = 0.0
    for label in range(len(picture.labels)):
        per_fold = [_numbers(classes[label]) for classes in picture.folds.values()]
        for number, values in enumerate(per_fold if beside else [numpy.concatenate(per_fold)]):
            found.append((place, number if beside else label, values))
            place += 1
        place += 0.8
    return found


def _numbers(values: tuple[float | None, ...]) -> Any:
    return numpy.array([value for value in values if value is not None and numpy.isfinite(value)], dtype=float)


def _box(axes: Any, position: float, number: int, values: Any, random: Any, ink: str) -> None:
    if not len(values):
        axes.text(0.01, position, "no values", va="center", fontsize=8, color=ink)
        return
    style = {"color": ink, "linewidth": 1}
    axes.boxplot(
        [values],
        positions=[position],
        widths=0.7,
        orientation="horizontal",
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": colour(number), "alpha": 0.45, "edgecolor": ink},
        medianprops={"color": ink, "linewidth": 1.6},
        whiskerprops=style,
        capprops=style,
    )
    spread = position + random.uniform(-0.18, 0.18, len(values))
    # A box of one value has no inside: the point has to show the colour.
    drawn = {"markersize": 6, "alpha": 1} if len(values) < FEW else {"markersize": 3.5, "alpha": 0.7}
    edge = {"markerfacecolor": colour(number), "markeredgecolor": ink, "markeredgewidth": 0.5, "zorder": 5}
    axes.plot(values, spread, marker="o", linestyle="", **edge, **drawn)


def _finish(axes: Any, picture: FoldsPicture, boxes: list[Box]) -> None:
    dress(axes, picture.theme)
    classes = len(picture.labels)
    per_class = len(boxes) // classes
    middles = [numpy.mean([box[0] for box in boxes[n * per_class : (n + 1) * per_class]]) for n in range(classes)]
    axes.set_yticks(middles, [short(name, NAME_CHARACTERS) for name in picture.labels])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(max(box[0] for box in boxes) + 0.8, -0.8)
    lowest = min((values.min() for _, _, values in boxes if len(values)), default=0.0)
    axes.set_xlim(max(-0.02, lowest - 0.1) if lowest > 0.5 else -0.02, 1.02)
    axes.set_xlabel("Dice of each validation case")
    if per_class > 1:
        patches = [Patch(color=colour(number), label=f"fold {fold}") for number, fold in enumerate(picture.folds)]
        legend(
            axes.figure,
            picture.theme,
            patches,
            loc="outside lower center",
            ncols=columns(picture, [f"fold {fold}" for fold in picture.folds]),
        )

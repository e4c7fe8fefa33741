"""Slices of cases: the image, the labels over it, and for one case the prediction and where the two differ."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ....schemas.plots import CasesPicture, ClassScore
from ....texts import clean, some
from .panels import LOOKS, Looks, draw_view
from .slices import ReadCase, Shown, read_case
from .style import CONFUSED, EXTRA, LEGEND_LINE_INCH, MISSED, MM_PER_INCH, NothingToShow, columns, legend, new_figure

MAX_NAMES = 12
PANELS = 4
LINE = 90  # characters
TALLEST_INCH, TITLE_INCH, MARGIN_INCH = 20.0, 0.24, 0.5
# Panels are no flatter and no taller than this, in heights per width, so that letters and scale bar have room.
FLATTEST, NARROWEST = 0.3, 2.0
# Cases that differ more than that in size have a scale of their own each.
ALIKE = 4.0


def draw(picture: CasesPicture) -> Figure:
    """Four panels in a row: one view of a case with its prediction, or two views of cases without."""
    read, remarks = _read(picture)
    shown = [one for case in read for one in case.shown]
    predicted = shown[0].prediction is not None
    each = PANELS if predicted else PANELS // 2
    lines = [shown[first : first + PANELS // each] for first in range(0, len(shown), PANELS // each)]
    sizes, looks = _sizes(lines), Looks(picture)
    named = _named(read, looks, predicted=predicted)
    across = columns(picture, [str(handle.get_label()) for handle in named])
    heights = [line[0][1] / line[0][0] for line in sizes]
    words = len(remarks) + sum(max(one.heading.count("\n") + 1 for one in line) for line in lines)
    high = MARGIN_INCH + TITLE_INCH * words + LEGEND_LINE_INCH * math.ceil(len(named) / across)
    high += picture.width_mm / MM_PER_INCH / PANELS * sum(heights)
    figure = new_figure(min(TALLEST_INCH, high), _said(picture, remarks))
    grid = figure.subplots(len(lines), PANELS, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_axis_off()
    for plots, line, widths in zip(grid, lines, sizes, strict=True):
        for number, (one, size) in enumerate(zip(line, widths, strict=True)):
            draw_view(one, plots[number * each : (number + 1) * each], looks, size)
    many = f"more than {LOOKS} classes: looks repeat" if len(picture.names) > LOOKS else None
    legend(figure, picture.theme, named, loc="outside lower center", ncols=across, title=many)
    return figure


def _read(picture: CasesPicture) -> tuple[list[ReadCase], list[str]]:
    """The slices of each case, and a line for each thing that has to be said.

    Raises:
        NothingToShow: none can be shown.
    """
    read: list[ReadCase] = []
    said: list[str] = []
    alone = len(picture.cases) == 1
    for case in picture.cases:
        try:
            read.append(read_case(case, planes=alone, more=picture.more_slices))
        except Exception as error:  # an exception of an image library must not hide the other cases
            if alone:
                raise
            said.append(clean(f"{case.name} not shown: {error}", LINE))
            continue
        said += [remark if alone else f"{case.name}: {remark}" for remark in read[-1].remarks]
        if alone and (unseen := read[-1].unseen):
            said.append(f"In none of these slices: {some([_name(value, picture) for value in unseen], 5)}")
    if not read:
        raise NothingToShow("; ".join(said))
    return read, said


def _said(picture: CasesPicture, remarks: Sequence[str]) -> CasesPicture:
    return picture.model_copy(update={"title": "\n".join([picture.title, *remarks])})


def _sizes(lines: Sequence[Sequence[Shown]]) -> list[list[tuple[float, float]]]:
    """The width and height of each view's panels in its unit: one width for all, which gives all one scale, if the
    sizes of the cases allow; one height per width in a line."""
    own = [[max(one.view.width, one.view.height / NARROWEST) for one in line] for line in lines]
    every = [width for line in own for width in line]
    if len({one.unit for line in lines for one in line}) == 1 and max(every) <= ALIKE * min(every):
        own = [[max(every)] * len(line) for line in own]
    found = []
    for line, widths in zip(lines, own, strict=True):
        high = max(FLATTEST, *(one.view.height / width for one, width in zip(line, widths, strict=True)))
        found.append([(width, high * width) for width in widths])
    return found


def _named(read: Sequence[ReadCase], looks: Looks, *, predicted: bool) -> list[Any]:
    """The lines of the legend: classes, and what the colours of differences mean."""
    lines = list(_entries(read, looks))
    if over := len(lines[MAX_NAMES:]):
        lines[MAX_NAMES:] = [Line2D([], [], linestyle="", label=f"and {over} more")]
    said = ((MISSED, "missed"), (EXTRA, "too much"), (CONFUSED, "another class"))
    return [*lines, *(Patch(color=drawn, label=f"difference: {name}") for drawn, name in said if predicted)]


def _entries(read: Sequence[ReadCase], looks: Looks) -> Iterator[Line2D]:
    """A line for each class, with its numbers where they are known; a region of several classes has no contour."""
    scores = {score.label: score for case in read for score in case.case.scores}
    for value in sorted({value for case in read for value in case.present}):
        name = _name(value, looks.picture)
        drawn, stroke = looks.of(value)
        style = {"color": drawn, "linestyle": stroke, "linewidth": 2.0}
        yield Line2D([], [], label=_scored(name, scores.pop(name, None), read[0].voxel_ml), **style)  # type: ignore[arg-type]
    for name, score in scores.items():
        yield Line2D([], [], linestyle="", label=_scored(name, score, read[0].voxel_ml))


def _name(value: int, picture: CasesPicture) -> str:
    return "ignored" if value == picture.ignored else picture.names.get(value, f"label {value}")


def _scored(name: str, score: ClassScore | None, voxel_ml: float | None) -> str:
    """The class, and of a prediction its Dice with both volumes."""
    if score is None:
        return name
    dice = "no Dice" if score.dice is None else f"Dice {score.dice:.3f}"
    if score.voxels is None:
        return f"{name}: {dice}"
    predicted, true = (_amount(count, voxel_ml) for count in score.voxels)
    return f"{name}: {dice}, truth {true}, predicted {predicted}"


def _amount(voxels: int, voxel_ml: float | None) -> str:
    if not voxels:
        return "nothing"
    if voxel_ml is None:
        return f"{voxels:,} px"
    ml = voxels * voxel_ml
    return f"{ml:,.0f} ml" if ml >= 100 else f"{ml:.3g} ml"

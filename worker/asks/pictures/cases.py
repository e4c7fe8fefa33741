"""Slices of cases: the image, the labels over it, and for one case the prediction and where the two differ."""

from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from ....schemas.plots import CasesPicture
from ....texts import clean
from .slices import Shown, slices_of
from .style import INK, NothingToShow, colour, legend, new_figure, png, title
from .volumes import PLANES

OPACITY = 0.5
# No class has these, and they differ in brightness for who sees no red or green.
MISSED, EXTRA, CONFUSED = "#ff1744", "#7cff00", "#c77dff"
IGNORED = "#888888"
MAX_NAMES = 12
PANELS = 4
LINE = 90  # characters


def draw(picture: CasesPicture) -> bytes:
    """Four panels in a row: one view of a case with its prediction, or two views of cases without."""
    shown, broken = _read(picture)
    predicted = shown[0].prediction is not None
    per_line = 1 if predicted else 2
    lines = [shown[first : first + per_line] for first in range(0, len(shown), per_line)]
    heights = [max(_height_per_width(one) for one in line) for line in lines]
    figure = new_figure(min(20.0, 1.2 + 1.95 * sum(heights)), picture.theme)
    title(figure, "\n".join([picture.title, *broken]), picture.theme)
    grid = figure.subplots(len(lines), PANELS, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, plots in zip(lines, grid, strict=True):
        for number, one in enumerate(line):
            _draw_view(one, plots[number * (PANELS // per_line) :], picture)
    _legends(figure, shown, picture)
    return png(figure)


def _read(picture: CasesPicture) -> tuple[list[Shown], list[str]]:
    """The slices of each case, and a line for each that cannot be shown.

    Raises:
        NothingToShow: none can be shown.
    """
    shown: list[Shown] = []
    broken: list[str] = []
    for case in picture.cases:
        try:
            shown += slices_of(case, planes=len(picture.cases) == 1)
        except Exception as error:  # an exception of an image library must not hide the other cases
            if len(picture.cases) == 1:
                raise
            broken.append(clean(f"{case.name} not shown: {error}", LINE))
    if not shown:
        raise NothingToShow("; ".join(broken))
    return shown, broken


def _height_per_width(one: Shown) -> float:
    return min(2.0, max(0.5, float(one.image.shape[0] * one.view.aspect / one.image.shape[1])))


def _draw_view(one: Shown, plots: Sequence[Any], picture: CasesPicture) -> None:
    grey = _grey(one.image)
    truth = _over(grey, _coloured(one.truth, picture))
    layers = [(one.heading, grey), ("labels" if one.prediction is None else "truth", truth)]
    if one.prediction is not None:
        name = "prediction" if one.prediction.any() else "prediction: nothing here"
        layers.append((name, _over(grey, _coloured(one.prediction, picture))))
        layers.append(("differences", _over(grey, _differences(one, picture))))
    for axes, (name, pixels) in zip(plots, layers, strict=False):
        axes.imshow(pixels, aspect=one.view.aspect, interpolation="nearest")
        axes.set_title(name, fontsize=8, color=INK[picture.theme], parse_math=False)
    _sides(plots[0], one)


def _sides(axes: Any, one: Shown) -> None:
    """Write R, L, A, P, S, I at the borders of a plane."""
    if one.flat:
        return
    (top, bottom), (left, right) = PLANES[one.view.plane]
    places = ((0.5, 0.97, top, "top"), (0.5, 0.03, bottom, "bottom"), (0.03, 0.5, left, ""), (0.97, 0.5, right, ""))
    for x, y, letter, vertical in places:
        horizontal = "left" if x < 0.1 else "right" if x > 0.9 else "center"
        style = {"color": "#ffffff", "fontsize": 7, "ha": horizontal, "va": vertical or "center"}
        made = axes.text(x, y, letter, transform=axes.transAxes, **style)
        made.set_bbox({"facecolor": "#000000", "alpha": 0.4, "pad": 0.6, "linewidth": 0})


def _grey(image: Any) -> Any:
    """RGB pixels from 0 to 1; grey values between the 0.5th and the 99.5th percentile."""
    values = numpy.nan_to_num(image.astype(numpy.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if image.ndim == 3:
        return values[..., :3] / max(1.0, float(values.max()))
    low, high = numpy.percentile(values, (0.5, 99.5))
    scaled = numpy.clip((values - low) / (high - low), 0, 1) if high > low else numpy.zeros_like(values)
    return numpy.repeat(scaled[..., None], 3, axis=2)


def _coloured(labels: Any, picture: CasesPicture) -> Any:
    """RGBA pixels, transparent at the background."""
    pixels = numpy.zeros((*labels.shape, 4), dtype=numpy.float32)
    for value in numpy.unique(labels):
        if value > 0:
            pixels[labels == value] = (*to_rgb(_colour_of(int(value), picture)), OPACITY)
    return pixels


def _colour_of(value: int, picture: CasesPicture) -> str:
    return IGNORED if value == picture.ignored else colour(value - 1)


def _differences(one: Shown, picture: CasesPicture) -> Any:
    truth, found = one.truth, one.prediction
    counted = truth != picture.ignored if picture.ignored is not None else numpy.ones(truth.shape, bool)
    pixels = numpy.zeros((*truth.shape, 4), dtype=numpy.float32)
    different = (truth != found) & counted
    for where, drawn in (
        (different & (found == 0), MISSED),
        (different & (truth == 0), EXTRA),
        (different & (truth != 0) & (found != 0), CONFUSED),
    ):
        pixels[where] = (*to_rgb(drawn), 0.9)
    return pixels


def _over(below: Any, above: Any) -> Any:
    opacity = above[..., 3:]
    return below * (1 - opacity) + above[..., :3] * opacity


def _legends(figure: Any, shown: list[Shown], picture: CasesPicture) -> None:
    present = sorted(set().union(*(_values(part) for one in shown for part in (one.truth, one.prediction))))
    patches = [Patch(color=_colour_of(v, picture), label=_name_of(v, picture)) for v in present[:MAX_NAMES]]
    if len(present) > MAX_NAMES:
        patches.append(Patch(color="none", label=f"and {len(present) - MAX_NAMES} more"))
    if shown[0].prediction is not None:
        said = ((MISSED, "missed"), (EXTRA, "too much"), (CONFUSED, "another class"))
        patches += [Patch(color=drawn, label=f"difference: {name}") for drawn, name in said]
    if patches:
        legend(figure, picture.theme, patches, loc="outside lower center", ncols=4)


def _name_of(value: int, picture: CasesPicture) -> str:
    return "ignored" if value == picture.ignored else picture.names.get(value, f"label {value}")


def _values(labels: Any | None) -> set[int]:
    return set() if labels is None else {int(value) for value in numpy.unique(labels) if value > 0}

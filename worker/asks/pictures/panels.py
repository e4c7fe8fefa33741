"""Draw one view of a case: the image, contours over it, where truth and prediction differ, and how large it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke
from matplotlib.transforms import offset_copy

from ....schemas.plots import CasesPicture
from .slices import Shown
from .style import COLOURS, CONFUSED, EXTRA, INK, MISSED, OPACITY, colour
from .views import PLANES

ERROR_OPACITY = 0.9
IGNORED = "#888888"
STROKES = ("-", "--", ":", "-.")
# So many classes differ in colour or stroke.
LOOKS = len(COLOURS) * len(STROKES)
# More values in one slice are no classes, but an image in the place of labels.
MOST_CONTOURS = 100
HALO = [withStroke(linewidth=2.5, foreground="#000000")]


@dataclass(frozen=True)
class Looks:
    """The colour and the stroke of each class: colours first, then other strokes."""

    picture: CasesPicture

    def of(self, value: int) -> tuple[str, str]:
        """The colour and the stroke of a label value."""
        if value == self.picture.ignored:
            return IGNORED, ":"
        declared = sorted(self.picture.names)
        place = declared.index(value) if value in declared else len(declared) + value
        return colour(place), STROKES[place // len(COLOURS) % len(STROKES)]


def draw_view(one: Shown, plots: Sequence[Any], looks: Looks, size: tuple[float, float]) -> None:
    """The panels of one view, each of `size` (width, height) in the view's unit."""
    names = ["labels" if one.prediction is None else "truth", "prediction", "differences"]
    for axes, name in zip(plots, [one.heading, *names], strict=False):
        axes.set_title(name, fontsize=8, color=INK[looks.picture.theme], parse_math=False)
        _image(axes, _grey(one.image), one)
        _limit(axes, one, size)
    _marks(plots[0], one, _round_length(size[0] / 4))
    _labels(plots[1], one.truth, one, looks)
    if one.prediction is None:
        return
    _labels(plots[2], one.prediction, one, looks)
    if not (one.prediction > 0).any():
        plots[2].set_title("prediction: none here", fontsize=8, color=INK[looks.picture.theme])
    _image(plots[3], _differences(one, looks.picture), one)


def _image(axes: Any, pixels: Any, one: Shown) -> None:
    extent = (0, one.view.width, one.view.height, 0)
    kind = "nearest" if pixels.shape[-1] == 4 else "auto"  # "auto" smooths what is drawn smaller than it is
    axes.imshow(pixels, extent=extent, aspect="equal", interpolation=kind)


def _limit(axes: Any, one: Shown, size: tuple[float, float]) -> None:
    """The view in the middle of a panel: panels of one size have one scale."""
    beside, above = (size[0] - one.view.width) / 2, (size[1] - one.view.height) / 2
    axes.set_xlim(-beside, one.view.width + beside)
    axes.set_ylim(one.view.height + above, -above)


def _labels(axes: Any, labels: Any, one: Shown, looks: Looks) -> None:
    """The contour of each class, with areas under it where they are asked for."""
    values = [int(value) for value in numpy.unique(labels) if value > 0][:MOST_CONTOURS]
    if looks.picture.filled:
        pixels = numpy.zeros((*labels.shape, 4), dtype=numpy.float32)
        for value in values:
            pixels[labels == value] = (*to_rgb(looks.of(value)[0]), OPACITY)
        _image(axes, pixels, one)
    padded = numpy.pad(labels, 1)  # a contour is closed also where the structure leaves the panel
    rows, columns = ((numpy.arange(size) - 0.5) for size in padded.shape)
    for value in values:
        drawn, stroke = looks.of(value)
        where = (columns * one.view.pixel[1], rows * one.view.pixel[0], padded == value)
        axes.contour(*where, levels=[0.5], colors=[drawn], linestyles=[stroke], linewidths=1.3)


def _marks(axes: Any, one: Shown, bar: float) -> None:
    """What lies at the borders, where the other planes cut, and a scale bar."""
    width, height = one.view.width, one.view.height
    if not one.flat:
        (top, bottom), (left, right) = PLANES[one.view.plane]
        for x, y, letter in ((0.5, 0.06, top), (0.5, 0.94, bottom), (0.05, 0.5, left), (0.95, 0.5, right)):
            _letter(axes, x * width, y * height, letter)
    if one.view.cut is not None:
        x, y = one.view.cut
        thin = {"color": "#ffffff", "linewidth": 0.7, "linestyle": (0, (5, 4)), "alpha": 0.75}
        axes.plot([x, x], [0, height], **thin)
        axes.plot([0, width], [y, y], **thin)
    start = 0.05 * width
    points = offset_copy(axes.transData, axes.figure, y=6, units="points")
    drawn = {"color": "#ffffff", "linewidth": 2, "solid_capstyle": "butt", "path_effects": HALO}
    axes.plot([start, start + bar], [height, height], transform=points, **drawn)
    above = offset_copy(axes.transData, axes.figure, y=13, units="points")
    _letter(axes, start + bar / 2, height, f"{bar:g} {one.unit}", transform=above)


def _letter(axes: Any, x: float, y: float, text: str, **placed: Any) -> None:
    made = axes.text(x, y, text, color="#ffffff", fontsize=7, ha="center", va="center", **placed)
    made.set_bbox({"facecolor": "#000000", "alpha": 0.5, "pad": 0.6, "linewidth": 0})


def _round_length(most: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(most))
    return power * max(digit for digit in (1, 2, 5) if digit * power <= most)


def _grey(image: Any) -> Any:
    """RGB pixels from 0 to 1; grey values between the 0.5th and the 99.5th percentile."""
    values = numpy.nan_to_num(image.astype(numpy.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if image.ndim == 3:
        return values[..., :3] / max(1.0, float(values.max()))
    low, high = numpy.percentile(values, (0.5, 99.5))
    scaled = numpy.clip((values - low) / (high - low), 0, 1) if high > low else numpy.zeros_like(values)
    return numpy.repeat(scaled[..., None], 3, axis=2)


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
        pixels[where] = (*to_rgb(drawn), ERROR_OPACITY)
    return pixels

"""How every picture looks: size, colours, light and dark."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ....errors import Refused
from ....schemas.plots import Drawn, Theme

MM_PER_INCH = 25.4
# Of a legend in 8 points: a letter on average, and what stands before it.
LETTER_INCH, HANDLE_INCH, LEGEND_LINE_INCH = 0.067, 0.55, 0.17
# Okabe & Ito's colours, which colour-blind people can tell apart (https://jfly.uni-koeln.de/color/), without black and
# without vermilion, which is too near to the red of what was missed.
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#F0E442")
# No class has these: Tol's vibrant red (https://personal.sron.nl/~pault/), and a cyan and a violet that are as far from
# it and from each class as two classes are from each other, also for who lacks one of the three cones.
MISSED, EXTRA, CONFUSED = "#CC3311", "#00FFFF", "#B040FF"
OPACITY = 0.35  # of areas, so that the image is seen through them
PAPER = {"light": "#ffffff", "dark": "#1e1e1e"}
INK = {"light": "#222222", "dark": "#e6e6e6"}
FAINT = {"light": "#d9d9d9", "dark": "#444444"}


class NothingToShow(Refused):
    """There is nothing to draw; the text says why and what to do."""


def colour(number: int) -> str:
    """The colour of the n-th thing; they repeat after six."""
    return COLOURS[number % len(COLOURS)]


def new_figure(height_inch: float, picture: Drawn) -> Figure:
    """An empty figure of the picture's width and theme, with its title: one line or more, never parsed as formulas."""
    size = (picture.width_mm / MM_PER_INCH, height_inch)
    figure = Figure(figsize=size, facecolor=PAPER[picture.theme], layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(picture.title, fontsize=11 if size[0] > 6 else 8, color=INK[picture.theme], parse_math=False)
    return figure


def dress(axes: Any, theme: Theme) -> None:
    """Set ink, grid and frame of one plot."""
    axes.set_facecolor(PAPER[theme])
    axes.tick_params(colors=INK[theme], labelsize=9)
    axes.grid(color=FAINT[theme], linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(FAINT[theme])
        spine.set_visible(side in ("left", "bottom"))
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(INK[theme])
        label.set_fontsize(9)


def legend(target: Any, theme: Theme, handles: Iterable[Any] | None = None, **placed: Any) -> None:
    """A legend without a box."""
    given = {"handles": list(handles)} if handles is not None else {}
    made = target.legend(**given, fontsize=8, frameon=False, labelcolor=INK[theme], **placed)
    made.get_title().set(color=INK[theme], fontsize=8, parse_math=False)
    for text in made.get_texts():
        text.set_parse_math(False)


def columns(picture: Drawn, labels: Sequence[str]) -> int:
    """How many columns of a legend fit; matplotlib fills one after the other, each as wide as its longest label."""
    for count in range(min(5, len(labels)), 1, -1):
        longest = [max(column) for column in numpy.array_split([len(label) for label in labels], count)]
        if sum(HANDLE_INCH + LETTER_INCH * length for length in longest) <= picture.width_mm / MM_PER_INCH:
            return count
    return 1

"""How every picture looks: size, colours, light and dark, and how it is written as a small PNG."""

import io
from collections.abc import Iterable
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ....errors import Refused
from ....schemas.plots import Theme

WIDTH_INCH, DPI = 8.0, 100
MAX_BYTES = 200_000
# Okabe & Ito's colours, which colour-blind people can tell apart (https://jfly.uni-koeln.de/color/), without black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
PAPER = {"light": "#ffffff", "dark": "#1e1e1e"}
INK = {"light": "#222222", "dark": "#e6e6e6"}
FAINT = {"light": "#d9d9d9", "dark": "#444444"}


class NothingToShow(Refused):
    """There is nothing to draw; the text says why and what to do."""


def colour(number: int) -> str:
    """The colour of the n-th thing; they repeat after seven."""
    return COLOURS[number % len(COLOURS)]


def new_figure(height_inch: float, theme: Theme) -> Figure:
    """An empty figure, 800 pixels wide."""
    figure = Figure(figsize=(WIDTH_INCH, height_inch), dpi=DPI, facecolor=PAPER[theme], layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def title(figure: Figure, text: str, theme: Theme) -> None:
    """One line or more above everything. Dataset names are not parsed as mathematics."""
    figure.suptitle(text, fontsize=11, color=INK[theme], parse_math=False)


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
    for text in made.get_texts():
        text.set_parse_math(False)


def png(figure: Figure) -> bytes:
    """The figure as PNG of at most 200 kB; if it is larger, with fewer colours, and then with fewer pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    drawn = Image.open(buffer).convert("RGB")
    for colours, scale in ((None, 1.0), (256, 1.0), (64, 1.0), (64, 0.8), (32, 0.6)):
        written = _written(drawn, colours, scale)
        if len(written) <= MAX_BYTES:
            break
    return written


def _written(drawn: Image.Image, colours: int | None, scale: float) -> bytes:
    made = drawn if scale == 1 else drawn.resize((int(drawn.width * scale), int(drawn.height * scale)))
    if colours is not None:
        # Other methods merge rare colours, and the colours of a legend are rare.
        made = made.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    written = io.BytesIO()
    made.save(written, format="png", optimize=True)
    return written.getvalue()

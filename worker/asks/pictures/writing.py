"""Write a drawn figure as a small PNG, as a large one for printers, or as SVG."""

import io
import re
from typing import Any

import numpy
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ....schemas.plots import Paper
from .style import COLOURS, CONFUSED, EXTRA, FAINT, INK, MISSED, MM_PER_INCH, OPACITY, PAPER

# Colours and the share of the pixels, from what nobody sees to what is still readable.
SMALLER = ((None, 1.0), (256, 1.0), (64, 1.0), (48, 1.0), (64, 0.8), (48, 0.8), (48, 0.65), (48, 0.5), (48, 0.4))
# Pillow looks up a palette in steps of 4 of 255, from their lower end (Palette.c, ImagingPaletteCache): a colour nearer
# to white than this can tint the paper.
NEAR = 8 / 255
# Pictures inside an SVG, as printers want them.
SVG_DPI = 300
# Text stays text, so that an editor finds it; the same picture gives the same file, without a date.
SVG = {"svg.fonttype": "none", "svg.hashsalt": "nnunet-mcp"}


def written(figure: Figure, paper: Paper) -> bytes:
    """The bytes of the file."""
    buffer, share = io.BytesIO(), paper.width_mm / MM_PER_INCH / float(figure.get_figwidth())
    if paper.format == "svg":
        with rc_context(SVG):
            figure.savefig(buffer, format="svg", dpi=SVG_DPI, metadata={"Date": None, "Creator": None})
        return _shrunk(buffer.getvalue(), share)
    figure.savefig(buffer, format="png", dpi=paper.dpi * share)
    drawn, coloured = Image.open(buffer).convert("RGB"), _shows_colours(figure)
    for colours, scale in SMALLER if paper.most_bytes else SMALLER[:1]:
        made = _png(drawn, colours, scale, paper.dpi, coloured=coloured)
        if len(made) <= (paper.most_bytes or len(made)):
            break
    return made


def _shrunk(svg: bytes, share: float) -> bytes:
    """The same on a smaller paper: only the size at its beginning changes."""
    sizes = re.compile(rb'(width|height)="([0-9.]+)pt"')
    return sizes.sub(lambda found: b'%s="%.3fpt"' % (found[1], float(found[2]) * share), svg, count=2)


def _shows_colours(figure: Figure) -> bool:
    """Whether an image in it has colours of its own, as one of stained tissue has."""
    images: list[Any] = [image.get_array() for axes in figure.axes for image in axes.images]
    return any(bool((pixels[..., :1] != pixels[..., 1:3]).any()) for pixels in images if pixels.shape[-1] == 3)


def _png(drawn: Image.Image, colours: int | None, scale: float, dpi: int, *, coloured: bool) -> bytes:
    made = drawn if scale == 1 else drawn.resize((int(drawn.width * scale), int(drawn.height * scale)))
    if colours is not None:
        made = made.quantize(palette=_palette(colours, made if coloured else None), dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    made.save(buffer, format="png", optimize=True, dpi=(dpi * scale, dpi * scale))
    return buffer.getvalue()


def _palette(colours: int, own: Image.Image | None) -> Image.Image:
    """Colours that mean something, as they are and as areas over images; the rest are greys, or a picture's own.

    Colours chosen only by how often they occur would take a class of few pixels for something else.
    """
    meant = numpy.array([to_rgb(name) for name in (*COLOURS, MISSED, EXTRA, CONFUSED)])
    plain = numpy.array([to_rgb(name) for name in (*PAPER.values(), *INK.values(), *FAINT.values())])
    shades = max(2, colours // 24)
    below = numpy.linspace(0.2, 0.9, shades)[:, None] if own is None else _commonest(own, shades)
    kept = numpy.concatenate([meant, plain, *(OPACITY * meant + (1 - OPACITY) * one for one in below)])
    left = colours - len(kept)
    greys = numpy.linspace(0, 0.96, left)[:, None].repeat(3, axis=1)  # white is there, and stays it
    rest = greys if own is None else _unlike(kept, _commonest(own, left))
    palette = Image.new("P", (1, 1))
    palette.putpalette([int(part) for part in (255 * numpy.concatenate([kept, rest])).round().ravel()])
    return palette


def _commonest(picture: Image.Image, count: int) -> Any:
    """So many colours, or fewer where it has fewer, that come nearest to the picture's."""
    return numpy.reshape(picture.quantize(count).getpalette(), (-1, 3)) / 255


def _unlike(kept: Any, others: Any) -> Any:
    """The others without those that stand in for a kept one."""
    return others[(abs(others[:, None] - kept).max(axis=2) > NEAR).all(axis=1)]

"""Write a drawn figure as a small PNG, as a large one for printers, or as SVG."""

import io
import re

import numpy
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ....schemas.plots import Paper
from .style import COLOURS, CONFUSED, EXTRA, FAINT, INK, MISSED, MM_PER_INCH, OPACITY, PAPER

# Colours and the share of the pixels, from what nobody sees to what is still readable.
SMALLER = ((None, 1.0), (256, 1.0), (64, 1.0), (48, 1.0), (64, 0.8), (48, 0.8), (48, 0.65), (48, 0.5), (48, 0.4))
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
    drawn = Image.open(buffer).convert("RGB")
    for colours, scale in SMALLER if paper.most_bytes else SMALLER[:1]:
        made = _png(drawn, colours, scale, paper.dpi)
        if len(made) <= (paper.most_bytes or len(made)):
            break
    return made


def _shrunk(svg: bytes, share: float) -> bytes:
    """The same on a smaller paper: only the size at its beginning changes."""
    sizes = re.compile(rb'(width|height)="([0-9.]+)pt"')
    return sizes.sub(lambda found: b'%s="%.3fpt"' % (found[1], float(found[2]) * share), svg, count=2)


def _png(drawn: Image.Image, colours: int | None, scale: float, dpi: int) -> bytes:
    made = drawn if scale == 1 else drawn.resize((int(drawn.width * scale), int(drawn.height * scale)))
    if colours is not None:
        made = made.quantize(palette=_palette(colours), dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    made.save(buffer, format="png", optimize=True, dpi=(dpi * scale, dpi * scale))
    return buffer.getvalue()


def _palette(colours: int) -> Image.Image:
    """Colours that mean something, as they are and as areas over dark and bright images; the rest are greys.

    Colours chosen by how often they occur would take a class of few pixels for a grey.
    """
    meant = numpy.array([to_rgb(name) for name in (*COLOURS, MISSED, EXTRA, CONFUSED)])
    plain = numpy.array([to_rgb(name) for name in (*PAPER.values(), *INK.values(), *FAINT.values())])
    below = numpy.linspace(0.2, 0.9, max(2, colours // 24))
    areas = [OPACITY * meant + (1 - OPACITY) * grey for grey in below]
    kept = numpy.concatenate([meant, plain, *areas])
    greys = numpy.linspace(0, 0.96, colours - len(kept))[:, None].repeat(3, axis=1)  # white is there, and stays it
    palette = Image.new("P", (1, 1))
    palette.putpalette([int(part) for part in (255 * numpy.concatenate([kept, greys])).round().ravel()])
    return palette

"""Write a drawn figure as a small PNG, as a large one for printers, or as SVG."""

import io

import numpy
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ....schemas.plots import Paper
from .style import COLOURS, CONFUSED, EXTRA, MISSED

# Colours and the share of the pixels, from what nobody sees to what is still readable.
SMALLER = ((None, 1.0), (256, 1.0), (64, 1.0), (40, 1.0), (64, 0.8), (40, 0.8), (40, 0.65), (32, 0.5), (32, 0.4))
# Between the largest and the smallest of red, green and blue; below it nobody sees a colour.
COLOURFUL = 20
# Pictures inside an SVG, as printers want them.
SVG_DPI = 300
# Text stays text, so that an editor finds it; the same picture gives the same file, without a date.
SVG = {"svg.fonttype": "none", "svg.hashsalt": "nnunet-mcp"}


def written(figure: Figure, paper: Paper) -> bytes:
    """The bytes of the file."""
    buffer = io.BytesIO()
    if paper.format == "svg":
        with rc_context(SVG):
            figure.savefig(buffer, format="svg", dpi=SVG_DPI, metadata={"Date": None, "Creator": None})
        return buffer.getvalue()
    figure.savefig(buffer, format="png", dpi=paper.dpi)
    drawn = Image.open(buffer).convert("RGB")
    for colours, scale in SMALLER if paper.most_bytes else SMALLER[:1]:
        made = _png(drawn, colours, scale, paper.dpi)
        if len(made) <= (paper.most_bytes or len(made)):
            break
    return made


def _png(drawn: Image.Image, colours: int | None, scale: float, dpi: int) -> bytes:
    made = drawn if scale == 1 else drawn.resize((int(drawn.width * scale), int(drawn.height * scale)))
    if colours is not None:
        made = made.quantize(palette=_palette(made, colours), dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    made.save(buffer, format="png", optimize=True, dpi=(dpi * scale, dpi * scale))
    return buffer.getvalue()


def _palette(drawn: Image.Image, colours: int) -> Image.Image:
    """Colours that mean something, as they are: a class may have few pixels. Then greys, then shades of colours."""
    kept = [round(255 * part) for name in (*COLOURS, MISSED, EXTRA, CONFUSED) for part in to_rgb(name)]
    greys = (colours - len(kept) // 3) // 2
    found = [*kept, *(value * 255 // (greys - 1) for value in range(greys) for _ in "RGB")]
    pixels = numpy.asarray(drawn).reshape(-1, 3)
    coloured = pixels[numpy.ptp(pixels, axis=1) > COLOURFUL]
    if len(coloured):
        shades = Image.fromarray(coloured[None]).quantize(colours - len(found) // 3, dither=Image.Dither.NONE)
        found += shades.getpalette() or ()
    palette = Image.new("P", (1, 1))
    palette.putpalette(found)
    return palette

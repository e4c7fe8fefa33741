"""Pictures as arrays, and arrays as PNG files, without any loss."""

from pathlib import Path
from typing import Any

import numpy

from ....image_files import PICTURES as PICTURES
from ..inspection.nifti import Damaged

COLOURS = {2: "grey", 3: "RGB", 4: "RGBA"}
DEEP = (16, b"\x02\x06")  # 16 bits in each of several colours: Pillow reads 8 of them


def picture_of(path: Path, *, mask: bool) -> tuple[Any, str]:
    """The pixels as (y, x) or (y, x, colour), and which colours they are.

    The colours of a palette are what an image shows; in a mask its numbers are the labels.
    """
    if path.name.lower().endswith((".tif", ".tiff")):
        return _tiff(path)
    from PIL import Image

    _refuse_deep(path)
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise Damaged("it holds several pictures")
        if image.mode == "P" and not mask:
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode == "LA":
            image = image.convert("RGBA")
        elif image.mode == "1" and not mask:
            image = image.convert("L")
        if image.mode not in ("1", "L", "P", "I;16", "I;16B", "I", "RGB", "RGBA"):
            raise Damaged(f"its colours are {image.mode}; grey, RGB and RGBA are read")
        pixels = numpy.asarray(image)
    return _whole(pixels)


def _tiff(path: Path) -> tuple[Any, str]:
    import tifffile

    return _whole(tifffile.imread(path))


def _whole(pixels: Any) -> tuple[Any, str]:
    if pixels.dtype == bool:
        pixels = pixels.astype(numpy.uint8)
    if pixels.dtype.kind == "i" and pixels.size and pixels.min() >= 0 and pixels.max() < 1 << 16:
        pixels = pixels.astype(numpy.uint16)
    colours = COLOURS.get(2 if pixels.ndim == 2 else pixels.shape[-1], "")
    if not colours:
        raise Damaged(f"it has {pixels.shape[-1]} colours; grey, RGB and RGBA are read")
    return pixels, colours


def _refuse_deep(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(26)
    if head.startswith(b"\x89PNG") and len(head) == 26 and head[24] == DEEP[0] and head[25] in DEEP[1]:
        raise Damaged("it has 16 bits per colour; nnU-Net's reader takes 8")


def in_colours(pixels: Any, wanted: str) -> Any:
    """The pixels as grey, RGB or RGBA; only what changes no value is done."""
    if wanted == "grey":
        return pixels if pixels.ndim == 2 else pixels[..., 0]
    if pixels.ndim == 2:
        pixels = numpy.stack([pixels] * 3, axis=-1)
    if wanted == "RGB":
        return pixels[..., :3]
    if pixels.shape[-1] == 4:
        return pixels
    return numpy.concatenate([pixels, numpy.full_like(pixels[..., :1], numpy.iinfo(pixels.dtype).max)], axis=-1)


def save_png(pixels: Any, target: Path) -> None:
    """Write them, without colour profile and rotation."""
    from PIL import Image

    Image.fromarray(numpy.ascontiguousarray(pixels)).save(target, format="PNG")

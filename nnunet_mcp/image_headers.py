"""The size of an image by the first bytes of its file, for an estimate at once: nothing is decompressed further, and no
image library is loaded. What reads images for good is worker/asks/inspection."""

import gzip
import math
import re
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .files import open_plain
from .prediction_work import is_possible

HEAD = 4096
NIFTI_HEADER = 348  # nifti1.h
PNG = b"\x89PNG\r\n\x1a\n"
# nnU-Net's reader of pictures gives every picture these (2.8.1, imageio/natural_image_reader_writer.py:62).
OF_PICTURES = (999.0, 1.0, 1.0)
SIZES = re.compile(rb"^(?:DimSize *=|sizes *:)([^\r\n]*)", re.MULTILINE)
SPACING = re.compile(rb"^(?:Element(?:Spacing|Size) *=|spacings *:)([^\r\n]*)", re.MULTILINE)
DIRECTIONS = re.compile(rb"^space directions *:([^\r\n]*)", re.MULTILINE)
VECTOR = re.compile(rb"\(([^)]*)\)")


@dataclass(frozen=True)
class Size:
    """Along z, y, x; spacing in mm."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]


def size_of(path: Path) -> Size | None:
    """Of a volume (NIfTI, MetaImage, NRRD) or a PNG; None of what is another format, or not as its name says."""
    with suppress(OSError, EOFError, zlib.error, ValueError, OverflowError, struct.error):
        with open_plain(path) as stream:
            packed = path.name.endswith(".gz")
            head = gzip.GzipFile(fileobj=stream).read(HEAD) if packed else stream.read(HEAD)
        found = _size(head, path.name.removesuffix(".gz").rpartition(".")[2].lower())
        if len(found.shape) == 3 == len(found.spacing) and is_possible((*found.shape, *found.spacing)):
            return found
    return None


def _size(head: bytes, ending: str) -> Size:
    if ending == "nii":
        return _nifti(head)
    if head.startswith(PNG):
        width, height = struct.unpack(">II", head[16:24])
        return Size((1, height, width), OF_PICTURES)
    return _text(head)


def _nifti(head: bytes) -> Size:
    order = "<" if struct.unpack_from("<i", head)[0] == NIFTI_HEADER else ">"
    axes, *lengths = struct.unpack_from(f"{order}4h", head, 40)
    zooms = struct.unpack_from(f"{order}3f", head, 80)
    if not 2 <= axes <= 4:
        raise ValueError("neither a picture nor a volume")
    return Size(tuple(lengths[:3][::-1]) if axes > 2 else (1, *lengths[:2][::-1]), tuple(map(abs, zooms[::-1])))


def _text(head: bytes) -> Size:
    """MetaImage and NRRD say it in words: x first."""
    sizes, spacing, axes = (pattern.search(head) for pattern in (SIZES, SPACING, DIRECTIONS))
    if sizes is None:
        raise ValueError("no header in words")
    vectors = [[float(part) for part in one.split(b",")] for one in VECTOR.findall(axes[1] if axes else b"")]
    lengths = [float(part) for part in spacing[1].split()] if spacing else []
    lengths = lengths or [math.hypot(*one) for one in vectors] or [1.0] * 3
    return Size(tuple(int(part) for part in sizes[1].split()[::-1]), tuple(lengths[::-1]))

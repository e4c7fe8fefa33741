"""NIfTI files, read as a stream: to the end, so that a truncated file is noticed, and never whole in memory.

ITK fills the missing part of a truncated file with zeros and reads NaN and infinity as 0, and reports neither.
"""

import math
from collections.abc import Callable
from contextlib import closing
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy

from .gunzip import Gunzip
from .tally import BLOCK, Tally

HEADER = 544
BUFFER = 1 << 17
ROUNDED = 1e-2  # headers hold single precision, and programs round spacings to two digits


class Damaged(Exception):
    """The file cannot be read; the text says why."""


class TooLarge(Exception):
    """There is not enough memory for the file now."""


def header_of(path: Path) -> Any:
    """nibabel's header.

    Raises:
        Damaged: it is no NIfTI file.
    """
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    with closing(opened(path)) as stream:
        start = stream.read(HEADER)
    kind, length = (Nifti2Header, 540) if start[4:8] == b"n+2\0" else (Nifti1Header, 348)
    if kind is Nifti1Header and start[344:348] != b"n+1\0":
        raise Damaged("it has no NIfTI header")
    try:
        # without nibabel's check, which would correct the very errors we look for
        return kind(start[:length], check=False)
    except (HeaderDataError, WrapStructError, ValueError) as error:
        raise Damaged(f"its NIfTI header is broken ({error})") from None


def placed(header: Any) -> dict[str, Any]:
    """Whether the header says where the image lies, and whether its two ways to say it differ in axes or spacing.

    nnU-Net takes the spacing of pixdim (nibabel and ITK both do); programs differ in whose axes they believe.
    """
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not sform:
        return {"unplaced": not qform}
    stored, lengths = header.get_sform(), header.get_zooms()[:3]
    columns = numpy.linalg.norm(stored[:3, : len(lengths)], axis=0)
    if min(lengths, default=0) > 0 and not numpy.allclose(columns, lengths, rtol=ROUNDED):
        said = [" × ".join(f"{part:.4g}" for part in parts) for parts in (lengths, columns)]
        return {"twice": f"spacing {said[0]}, by its sform {said[1]} mm"}
    axes = [_axes(header.get_sform), _axes(header.get_qform) if qform else ""]
    return {"twice": f"axes {axes[0]} by its sform, {axes[1]} by its qform" if all(axes) and axes[0] != axes[1] else ""}


def _axes(affine: Callable[[], Any]) -> str:
    """Where the axes point to, such as RAS; empty where the header does not say it."""
    from nibabel.orientations import aff2axcodes

    try:
        codes = aff2axcodes(affine())
        return "".join(codes) if all(codes) else ""
    except Exception:  # numbers that are no rotation, for which nibabel has several errors
        return ""


def opened(path: Path) -> IO[bytes]:
    """The file's content, decompressed."""
    return BufferedReader(Gunzip(path), BUFFER) if path.suffix == ".gz" else path.open("rb")


def add_voxels(path: Path, header: Any, tally: Tally) -> None:
    """Read all voxels into the tally, then read on to the end of the file, where the checksum is.

    Raises:
        Damaged: data are missing, or of a kind that is no image.
    """
    dtype = header.get_data_dtype()
    if dtype.kind not in "uif":
        raise Damaged(f"its voxels are {'colours' if dtype.kind == 'V' else dtype.name}, not numbers")
    lengths = [int(length) for length in header.get_data_shape()]
    if not lengths or min(lengths) < 1:
        raise Damaged(f"its header gives the shape {lengths}")
    left = math.prod(lengths) * dtype.itemsize
    with closing(opened(path)) as stream:
        _skip(stream, int(header.get_data_offset()))
        expected = left
        while left:
            block = stream.read(min(left, BLOCK * dtype.itemsize))
            left -= len(block)
            if not block or len(block) % dtype.itemsize:
                raise Damaged(f"it is truncated: {expected - left} of {expected} bytes of data are there")
            tally.add(numpy.frombuffer(block, dtype))
        while stream.read(BLOCK):
            pass


def _skip(stream: IO[bytes], length: int) -> None:
    while length > 0:
        block = stream.read(min(length, BLOCK))
        if not block:
            raise Damaged("it is truncated before its data begin")
        length -= len(block)

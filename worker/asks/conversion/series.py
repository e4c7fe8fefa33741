"""A folder of DICOM files as one volume. What would make it wrong is refused by name."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy

from ..inspection.nifti import Damaged

SERIES, NAME, PLACE, AXES = "0020|000e", "0008|103e", "0020|0032", "0020|0037"
UNEVEN = 0.01  # of the distance between slices: a hundredth is rounding in the header, and moves no voxel
TILT = 0.5  # degrees; scanners tilt by several, headers round to far less
INT16 = (-(1 << 15), (1 << 15) - 1)


def series_of(paths: list[Path]) -> Any:
    """The volume, with orientation, spacing and slope as SimpleITK reads them.

    Raises:
        Damaged: several series, slices that are missing, doubled or uneven, or a tilted gantry.
    """
    import SimpleITK

    headers = {path: _header(path) for path in paths}
    _refuse_several(headers)
    if len(paths) == 1:
        return _smallest(SimpleITK.ReadImage(str(paths[0]), SimpleITK.sitkFloat64))
    ordered = _ordered(headers)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in ordered])
    reader.SetOutputPixelType(SimpleITK.sitkFloat64)  # each slice may have a slope of its own
    return _smallest(reader.Execute())


def _header(path: Path) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1:
        raise Damaged(f"{path.name} is a coloured DICOM picture")
    return reader


def _tag(header: Any, tag: str) -> str:
    return header.GetMetaData(tag).strip() if header.HasMetaDataKey(tag) else ""


def _refuse_several(headers: dict[Path, Any]) -> None:
    counts = Counter(_tag(header, SERIES) for header in headers.values())
    if len(counts) == 1:
        return
    names = {_tag(header, SERIES): _tag(header, NAME) for header in headers.values()}
    told = ", ".join(f"{(names[uid] or uid[-12:])[:30]!r} ({count} files)" for uid, count in counts.most_common(3))
    raise Damaged(f"{len(counts)} series in one folder, keep one: {told}")


def _ordered(headers: dict[Path, Any]) -> list[Path]:
    """The files along the normal of their slices."""
    places = {path: _numbers(_tag(header, PLACE), 3, path) for path, header in headers.items()}
    axes = {path: _numbers(_tag(header, AXES), 6, path) for path, header in headers.items()}
    first = next(iter(axes.values()))
    if any(abs(axis - first).max() > 1e-3 for axis in axes.values()):
        raise Damaged("its slices have different directions, as a localizer has")
    normal = numpy.cross(first[:3], first[3:])
    ordered = sorted(places, key=lambda path: float(places[path] @ normal))
    _refuse_uneven([places[path] for path in ordered], normal)
    return ordered


def _numbers(text: str, count: int, path: Path) -> Any:
    try:
        found = numpy.array([float(part) for part in text.split("\\")])
    except ValueError:
        found = numpy.zeros(0)
    if found.size != count or not numpy.isfinite(found).all():
        raise Damaged(f"{path.name} does not say where its slice lies")
    return found


def _refuse_uneven(places: list[Any], normal: Any) -> None:
    steps = [float((after - before) @ normal) for before, after in pairwise(places)]
    usual = float(numpy.median(steps))
    if min(steps) <= UNEVEN * usual or usual <= 0:
        raise Damaged("several slices lie at the same place; they may be several series or phases in one folder")
    shift = places[-1] - places[0]
    sideways = float(numpy.linalg.norm(shift - (shift @ normal) * normal))
    if (angle := math.degrees(math.atan2(sideways, float(shift @ normal)))) > TILT:
        raise Damaged(f"its gantry is tilted by {angle:.1f}°; resample it to straight axes first")
    odd = [step for step in steps if abs(step - usual) > UNEVEN * usual]
    missing = sum(round(step / usual) - 1 for step in odd)
    if odd and missing and all(abs(step / usual - round(step / usual)) <= UNEVEN for step in odd):
        raise Damaged(f"{missing} slices are missing: steps of {max(odd):.4g} mm among steps of {usual:.4g} mm")
    if odd:
        raise Damaged(f"its slices are unevenly spaced: {min(steps):.4g} to {max(steps):.4g} mm")


def _smallest(image: Any) -> Any:
    """The same values in 16 bits where they are whole numbers that fit, else as 32-bit floats."""
    import SimpleITK

    voxels = SimpleITK.GetArrayViewFromImage(image)
    whole = bool((voxels == numpy.rint(voxels)).all())
    fits = whole and voxels.min() >= INT16[0] and voxels.max() <= INT16[1]
    return SimpleITK.Cast(image, SimpleITK.sitkInt16 if fits else SimpleITK.sitkFloat32)

"""A folder of DICOM files as one volume. What would make it wrong is refused by name."""

import math
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy

from ....schemas.datasets import SourceFile
from ..inspection.nifti import Damaged

SERIES, NUMBER, NAME = "0020|000e", "0020|0011", "0008|103e"
PLACE, AXES, THICKNESS = "0020|0032", "0020|0037", "0018|0050"
PATIENT = ("0010|0010", "0010|0020")  # name and number
BETWEEN = re.compile(r"[\W_]+")  # the parts of a name: ^ and = by the standard, commas and blanks by habit
UNEVEN = 0.01  # of the distance between slices: a hundredth is rounding in the header, and moves no voxel
TILT = 0.5  # degrees; scanners tilt by several, headers round to far less
INT16 = (-(1 << 15), (1 << 15) - 1)


class SeveralSeries(Damaged):
    """A folder holds several, and none or no single one of them is chosen."""

    def __init__(self, described: list[str]) -> None:
        count = len(described)
        super().__init__(f"{count} series in one folder, choose one as in *.dcm#4: {'; '.join(described)}")
        self.described = tuple(described)


def series_of(file: SourceFile) -> Any:
    """The volume, with orientation, spacing and slope as SimpleITK reads them.

    Raises:
        SeveralSeries: none of them is chosen.
        Damaged: slices that are missing, doubled or uneven, or a tilted gantry.
    """
    import SimpleITK

    headers = _chosen({path: _header(path) for path in map(Path, file.paths)}, file.series)
    if len(headers) == 1:
        return _smallest(SimpleITK.ReadImage(str(next(iter(headers))), SimpleITK.sitkFloat64))
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


def _chosen(headers: dict[Path, Any], wanted: str) -> dict[Path, Any]:
    """The files of the only series, or of the one whose number or description is wanted."""
    found: dict[str, dict[Path, Any]] = defaultdict(dict)
    for path, header in headers.items():
        found[_tag(header, SERIES)][path] = header
    numbered = _numbered(list(found.values()))
    fitting = [one for number, one in numbered.items() if wanted in (number, _tag(next(iter(one.values())), NAME))]
    if len(found) == 1 and not wanted:
        return headers
    if wanted and len(fitting) == 1:
        return fitting[0]
    raise SeveralSeries([f"#{number} {_described(list(one.values()))}" for number, one in numbered.items()])


def _numbered(series: list[dict[Path, Any]]) -> dict[str, dict[Path, Any]]:
    """Each series by the scanner's number for it; counted as file1, file2, which no scanner writes, where these do not
    tell them apart."""
    numbers = [_tag(next(iter(one.values())), NUMBER) for one in series]
    if len({number for number in numbers if number.isdecimal()}) < len(series):
        return {f"file{number}": one for number, one in enumerate(sorted(series, key=min), 1)}
    return dict(sorted(zip(numbers, series, strict=True), key=lambda one: int(one[0])))


def _described(headers: list[Any]) -> str:
    """Its description, unless the patient's name is in it, its slices and their spacing."""
    first, name = headers[0], _tag(headers[0], NAME)
    told = "" if _names_patient(name.casefold(), first) else f"{name[:30]!r}, "
    size = "×".join(f"{length:.3g}" for length in first.GetSpacing()[:2])
    thick = _tag(first, THICKNESS)
    return f"{told}{len(headers)} slices, {size} mm" + (f", {thick[:8]} mm thick" if thick else "")


def _names_patient(text: str, header: Any) -> bool:
    """Whether a part of the patient's name or number is in it; Latin parts of two letters only as a word of their own,
    but of other scripts each sign: they are written without blanks."""
    words = BETWEEN.split(text)
    parts = {part for tag in PATIENT for part in BETWEEN.split(_tag(header, tag).casefold())}
    told = (part for part in parts if len(part) > 1 or not part.isascii())
    return any(part in text if len(part) > 2 or not part.isascii() else part in words for part in told)


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

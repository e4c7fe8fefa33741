"""What one image or mask holds, whatever its format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....files import open_plain
from ....schemas.datasets import FileFacts, SourceFile
from ....whole_images import META, voxels_elsewhere
from ..inspection.images import (
    itk,
    look_at_image,
    look_at_label,
    refuse_too_large,
    sentence,
    spacing_beside,
    whole_array,
)
from ..inspection.nifti import Damaged
from ..inspection.tally import LabelTally, Tally
from .pictures import PICTURES, picture_of
from .series import SeveralSeries, series_of

TIFF = (".tif", ".tiff")
HEAD = 1 << 16


def facts_of(file: SourceFile, allowed: Sequence[Path]) -> FileFacts:
    """Its geometry, and the values of a mask; a fault is its `error`."""
    first = Path(file.paths[0])
    try:
        for path in file.paths:
            open_plain(Path(path), inside=allowed).close()
        tally = LabelTally if file.mask else Tally
        return FileFacts.model_validate(_look(file, first, tally), from_attributes=True)
    except Exception as error:  # an exception of an image library must not hide the other files
        described = error.described if isinstance(error, SeveralSeries) else ()
        return FileFacts(error=sentence(error, first), series=described)


def _look(file: SourceFile, first: Path, tally: type[Tally]) -> Any:
    name = first.name.lower()
    if is_series(file):
        return _volume(series_of(file), tally)
    if name.endswith(PICTURES) or (name.endswith(TIFF) and is_flat(first)):
        return _picture(first, tally)
    if name.endswith(TIFF):
        return _stack(first, tally)
    if name.endswith(".mhd"):
        refuse_strange_voxels(first, file)
        return itk(first, tally)
    return look_at_label(first, "simpleitk") if tally is LabelTally else look_at_image(first, "simpleitk")


def _volume(image: Any, tally: type[Tally]) -> Any:
    import SimpleITK

    geometry = {"shape": image.GetSize()[::-1], "spacing": image.GetSpacing()[::-1]}
    geometry |= {"origin": image.GetOrigin(), "direction": image.GetDirection()}
    return whole_array(SimpleITK.GetArrayViewFromImage(image), tally, geometry)


def is_series(file: SourceFile) -> bool:
    """Whether these are DICOM files."""
    return file.name.rpartition("/")[2].startswith("*")


def refuse_strange_voxels(header: Path, file: SourceFile) -> None:
    """Let a .mhd name only the file beside it that was found with it."""
    with header.open("rb") as stream:
        named = {value.strip().decode(errors="replace") for value in META.findall(stream.read(HEAD))}
    if not named <= {"LOCAL", *(Path(path).name for path in file.paths[1:])}:
        raise Damaged("its header names voxels (ElementDataFile) in no single file beside it")


def is_flat(path: Path) -> bool:
    """Whether a TIFF is one grey or coloured picture that a PNG can hold."""
    import tifffile

    if why := voxels_elsewhere(path):
        raise Damaged(why)
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        return series.dtype.name in ("bool", "uint8", "uint16") and series.axes in ("YX", "YXS")


def stack_of(path: Path) -> tuple[Any, tuple[float, ...]]:
    """The voxels of a TIFF, as z, y, x, and their spacing, which a JSON file beside it holds."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        refuse_too_large(float(file.series[0].nbytes))
        voxels = file.asarray()
    if voxels.ndim not in (2, 3):
        raise Damaged(f"it has {voxels.ndim} dimensions; a TIFF may have 2 or 3")
    return voxels if voxels.ndim == 3 else voxels[None], spacing_beside(path, LabelTally)


def _stack(path: Path, tally: type[Tally]) -> FileFacts:
    voxels, spacing = stack_of(path)
    found = whole_array(voxels, tally, {"shape": voxels.shape, "spacing": spacing})
    note = "" if path.with_suffix(".json").is_file() else "a TIFF has no spacing: 1 mm is assumed"
    return FileFacts.model_validate(found.model_copy(update={"note": note}), from_attributes=True)


def _picture(path: Path, tally: type[Tally]) -> FileFacts:
    if why := voxels_elsewhere(path):
        raise Damaged(why)
    pixels, colours = picture_of(path, mask=False)
    alike = colours != "grey" and bool((pixels[..., :3] == pixels[..., :1]).all())
    opaque = colours == "RGBA" and bool((pixels[..., 3] == pixels[..., 3].max()).all())
    labels, grey = picture_of(path, mask=True) if tally is LabelTally else (pixels, colours)
    counted = labels[..., 0] if alike and grey != "grey" else labels
    found = whole_array(counted, tally, {"shape": (1, *pixels.shape[:2]), "spacing": (999.0, 1.0, 1.0)})
    said = {"picture": colours, "alike": alike, "opaque": opaque, "palette": grey != colours}
    return FileFacts(**{**found.model_dump(), **said})

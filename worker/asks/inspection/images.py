"""One image file as the reader of nnU-Net would see it.

Sources: nnunetv2 2.8.1, imageio/simpleitk_reader_writer.py, nibabel_reader_writer.py,
natural_image_reader_writer.py and tif_reader_writer.py.
"""

import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy

from ....files import DESCRIPTION_BYTES, read_plain
from ....schemas.datasets import FileLook, LabelLook, Reader
from ....whole_images import voxels_elsewhere
from ...resources import usable_memory
from . import nifti
from .nifti import Damaged, TooLarge
from .tally import LabelTally, Tally, blocks_of, range_of

NIFTI = (".nii", ".nii.gz")
SHARE_OF_MEMORY = 0.25
EXCERPT = 160
ITK_PREFIX = re.compile(r"^(sitk::|ITK )?ERROR: (\w+\(0x[0-9a-f]+\): )?")
GIPL_HEADER = 256
Geometry = dict[str, Any]
# All fields of a NIfTI header that say where the voxels lie; a label mostly has those of its image.
QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
AFFINE = ("srow_x", "srow_y", "srow_z")
GEOMETRY = ("dim", "pixdim", "xyzt_units", "intent_code", "qform_code", "sform_code", *QUATERNION, *AFFINE)
MOST_GEOMETRIES = 10_000
_known_geometry: dict[bytes, Geometry] = {}


def look_at_image(path: Path, reader: Reader | None) -> FileLook:
    """An image of one or more channels."""
    return _guarded(path, reader, Tally, FileLook)


def look_at_label(path: Path, reader: Reader | None) -> LabelLook:
    """A label image, with its values counted."""
    found = _guarded(path, reader, LabelTally, LabelLook)
    assert isinstance(found, LabelLook)
    return found


def _guarded(path: Path, reader: Reader | None, tally: type[Tally], look: type[FileLook]) -> FileLook:
    try:
        if not path.is_file():
            raise Damaged("it is a link to nowhere" if path.is_symlink() else "it is no file")
        with path.open("rb") as stream:  # raises for a file that we may not read
            if not stream.read(1):
                raise Damaged("it is empty, 0 bytes")
        if why := voxels_elsewhere(path):
            raise Damaged(why)
        return _reading(path, reader)(path, tally)
    except (TooLarge, MemoryError) as error:
        return look(error=sentence(error, path), passing=True)
    except Exception as error:  # an exception of an image library must not hide the other cases
        return look(error=sentence(error, path), passing=isinstance(error, OSError) and error.errno is not None)


def sentence(error: BaseException, path: Path) -> str:
    lines = str(error).replace(f"{path.parent}/", "").strip().splitlines() or [type(error).__name__]
    # ITK adds the text of errno, which has nothing to do with a truncated file.
    told = [line for line in lines if not line.startswith("Reason: ")] or lines
    return ITK_PREFIX.sub("", told[-1])[:EXCERPT]


def _reading(path: Path, reader: Reader | None) -> Callable[[Path, type[Tally]], FileLook]:
    if reader in ("simpleitk", "nibabel") and path.name.endswith(NIFTI):
        return _itk_nifti if reader == "simpleitk" else _nibabel_nifti
    if reader == "simpleitk":
        return itk
    return _natural if reader == "natural" else _tiff if reader == "tiff" else _either_tiff


def _itk_nifti(path: Path, tally: type[Tally]) -> FileLook:
    header = nifti.header_of(path)
    zooms = [float(zoom) for zoom in header.get_zooms()[:3]]
    odd = "" if all(math.isfinite(zoom) and zoom > 0 for zoom in zooms) else f"spacing {zooms}"
    voxels = _streamed(path, header, tally)  # first of all: for a damaged file ITK says only that it cannot read it
    return voxels.model_copy(update={**_itk_geometry(path, header), "note": odd})


def _itk_geometry(path: Path, header: Any) -> Geometry:
    """As ITK reads it, which takes as long as a tenth of the file: asked once for all files with this geometry."""
    said = b"".join(header[name].tobytes() for name in GEOMETRY)
    if (known := _known_geometry.get(said)) is None:
        known = itk_header(path)
        if len(_known_geometry) < MOST_GEOMETRIES:
            _known_geometry[said] = known
    return known


def _nibabel_nifti(path: Path, tally: type[Tally]) -> FileLook:
    header = nifti.header_of(path)
    lengths = [int(length) for length in header.get_data_shape()]
    if len(lengths) != 3:
        raise Damaged(f"it has {len(lengths)} dimensions; nnU-Net's reader for .nii takes 3")
    affine = header.get_best_affine()
    geometry = {
        "shape": tuple(lengths[::-1]),
        "spacing": tuple(float(zoom) for zoom in header.get_zooms()[::-1]),
        "origin": tuple(affine[:3, 3].tolist()),
        "direction": tuple(affine[:3, :3].ravel().tolist()),
    }
    return _streamed(path, header, tally).model_copy(update=_finite(geometry))


def _finite(geometry: Geometry) -> Geometry:
    if not numpy.isfinite([*geometry["spacing"], *geometry["origin"], *geometry["direction"]]).all():
        raise Damaged("its header's spacing, origin or direction are not numbers")
    return geometry


def _streamed(path: Path, header: Any, tally: type[Tally]) -> FileLook:
    lengths = [int(length) for length in header.get_data_shape()]
    stored, added = header.get_slope_inter()
    slope, intercept = 1.0 if stored is None else float(stored), float(added or 0.0)
    counting = tally(math.prod(lengths), tuple([*lengths, 1, 1][2::-1]), -intercept / (slope or 1.0))
    nifti.add_voxels(path, header, counting)
    return counting.look(
        dtype=header.get_data_dtype().name, **counting.fields(slope, intercept), **nifti.placed(header)
    )


def itk_header(path: Path) -> Geometry:
    """Shape, spacing, origin and direction as SimpleITK reports them."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    if path.name.endswith(NIFTI):
        reader.SetImageIO("NiftiImageIO")  # instead of trying every format
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1:
        raise Damaged(f"its voxels have {reader.GetNumberOfComponents()} values each")
    size, spacing = reader.GetSize()[::-1], [abs(part) for part in reader.GetSpacing()[::-1]]
    found: Geometry = {"origin": reader.GetOrigin(), "direction": reader.GetDirection()}
    if len(size) == 2:
        found |= {"shape": (1, *size), "spacing": (999 * max(spacing), *spacing)}
    elif len(size) == 3:
        found |= {"shape": size, "spacing": tuple(spacing)}
    elif len(size) == 4:
        axes = numpy.reshape(reader.GetDirection(), (4, 4))[:3, :3]
        found |= {"shape": size[1:], "spacing": tuple(spacing[1:]), "channels": size[0]}
        found |= {"origin": reader.GetOrigin()[:3], "direction": tuple(axes.ravel().tolist())}
    else:
        raise Damaged(f"it has {len(size)} dimensions")
    refuse_too_large(math.prod(size) * 4.0 if not path.name.endswith(NIFTI) else 0)
    return _finite(found)


def header_of(path: Path) -> Geometry | None:
    """As `itk_header`; None where the header cannot be read."""
    with suppress(Damaged, TooLarge, RuntimeError, ValueError, OSError):
        if path.is_file() and not voxels_elsewhere(path):  # opening a FIFO would wait
            return itk_header(path)
    return None


def itk(path: Path, tally: type[Tally]) -> FileLook:
    import SimpleITK

    geometry = itk_header(path)
    image = SimpleITK.ReadImage(str(path))  # the view needs this object to stay alive
    voxels = SimpleITK.GetArrayViewFromImage(image)
    # ITK leaves the rest of the memory uninitialised
    if path.suffix == ".gipl" and path.stat().st_size < GIPL_HEADER + voxels.nbytes:
        raise Damaged(f"it is truncated: {path.stat().st_size} of {GIPL_HEADER + voxels.nbytes} bytes are there")
    return whole_array(voxels, tally, geometry)


def _natural(path: Path, tally: type[Tally]) -> FileLook:
    from skimage import io

    pixels = io.imread(str(path))
    if pixels.ndim == 3 and pixels.shape[-1] == 2:
        raise Damaged("it is grey with an alpha channel, which nnU-Net does not read; save it without alpha")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)):
        raise Damaged(f"it has the shape {pixels.shape}; nnU-Net's reader takes grey, RGB or RGBA images")
    channels = pixels.shape[-1] if pixels.ndim == 3 else 1
    geometry = {"shape": (1, *pixels.shape[:2]), "spacing": (999.0, 1.0, 1.0), "channels": channels}
    if channels > 1 and tally is Tally:
        geometry["colours"] = tuple(range_of(pixels[..., number]) for number in range(channels))
    return whole_array(numpy.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels, tally, geometry)


def _tiff(path: Path, tally: type[Tally]) -> FileLook:
    import tifffile

    with tifffile.TiffFile(path) as file:
        refuse_too_large(float(file.series[0].nbytes))
        voxels = file.asarray()
    if voxels.ndim != 3:
        raise Damaged(f"it has {voxels.ndim} dimensions; nnU-Net's reader for 3D TIFF takes 3")
    known = _spacing_file(path, tally).is_file()
    geometry = {"shape": voxels.shape, "spacing": spacing_beside(path, tally), "unplaced": not known}
    return whole_array(voxels, tally, geometry)


def _either_tiff(path: Path, tally: type[Tally]) -> FileLook:
    """nnU-Net tries its 2D reader on the first .tif file, then the 3D one."""
    try:
        return _natural(path, tally)
    except Damaged:
        return _tiff(path, tally)


def spacing_beside(path: Path, tally: type[Tally]) -> tuple[float, ...]:
    """A 3D TIFF's spacing is in a JSON file beside it; nnU-Net takes 1 where there is none."""
    beside = _spacing_file(path, tally)
    if not beside.is_file():
        return (1.0, 1.0, 1.0)
    spacing = json.loads(read_plain(beside, most=DESCRIPTION_BYTES))["spacing"]
    if len(spacing) != 3:
        raise Damaged(f"{beside.name} must have a spacing of three numbers")
    return tuple(float(part) for part in spacing)


def _spacing_file(path: Path, tally: type[Tally]) -> Path:
    """Named after the case."""
    stem = path.name[: path.name.rindex(".")]
    return path.with_name(f"{stem if tally is LabelTally else stem[:-5]}.json")


def whole_array(array: Any, tally: type[Tally], geometry: Geometry) -> FileLook:
    if array.dtype.kind == "b":
        array = array.astype(numpy.uint8)
    counting = tally(array.size, tuple(geometry["shape"]))
    for block in blocks_of(array):
        counting.add(block)
    return counting.look(dtype=array.dtype.name, **geometry, **counting.fields())


def refuse_too_large(size: float) -> None:
    room = usable_memory().available * SHARE_OF_MEMORY
    if size > room:
        raise TooLarge(f"it takes {size / 1e9:.0f} GB of memory; there is room for {room / 1e9:.0f} GB")

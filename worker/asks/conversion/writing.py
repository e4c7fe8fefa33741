"""Write one file of the new dataset from private copies of its sources, so that what was checked is what is read."""

import gzip
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from ....files import open_plain
from ....schemas.datasets import ConversionLine, SourceFile, Writing
from ....whole_images import voxels_elsewhere
from ..inspection.images import refuse_too_large, sentence
from ..inspection.nifti import Damaged
from .facts import TIFF, is_flat, is_series, refuse_strange_voxels, stack_of
from .pictures import PICTURES, in_colours, picture_of, save_png
from .series import series_of

NIFTI = (".nii", ".nii.gz")
BLOCK = 1 << 20


def write(writing: Writing, folder: Path, allowed: Sequence[Path]) -> ConversionLine:
    """Write it below `folder`; a fault is the line's `error`."""
    with tempfile.TemporaryDirectory(prefix=".bringing-", dir=folder) as aside:
        copies = [Path(aside) / str(number) for number in range(len(writing.sources))]
        try:
            files = [_brought(file, copy, allowed) for file, copy in zip(writing.sources, copies, strict=True)]
            targets = [folder / target for target in writing.targets]
            return ConversionLine(overlap=_write(writing, files, targets))
        except Exception as error:  # an exception of an image library names the file
            said = sentence(error, copies[0]).replace(f"{aside}/", "")
            return ConversionLine(error=f"{writing.sources[0].name}: {said}")


def _brought(file: SourceFile, copy: Path, allowed: Sequence[Path]) -> SourceFile:
    copy.mkdir()
    paths = []
    for path in map(Path, file.paths):
        with open_plain(path, inside=allowed) as source, (copy / path.name).open("xb") as stream:
            shutil.copyfileobj(source, stream, BLOCK)
        paths.append(copy / path.name)
    if paths[0].name.lower().endswith(".mhd"):
        refuse_strange_voxels(paths[0], file)
    elif not is_series(file) and (why := voxels_elsewhere(paths[0])):
        raise Damaged(why)
    return file.model_copy(update={"paths": tuple(map(str, paths))})


def _write(writing: Writing, files: Sequence[SourceFile], targets: Sequence[Path]) -> int:
    first = Path(files[0].paths[0])
    if writing.as_it_is:
        first.rename(targets[0])
    elif writing.values:
        return _write_masks(writing, files, targets[0])
    elif writing.picture:
        save_png(in_colours(picture_of(first, mask=False)[0], writing.picture), targets[0])
    elif first.name.lower().endswith(".nii") and len(targets) == 1:
        with first.open("rb") as source, gzip.GzipFile(targets[0], "wb", mtime=0) as stream:
            shutil.copyfileobj(source, stream, BLOCK)
    else:
        _write_volume(files[0], targets)
    return 0


def _write_volume(file: SourceFile, targets: Sequence[Path]) -> None:
    import SimpleITK

    image = _image(file)
    if len(targets) == 1:
        SimpleITK.WriteImage(image, str(targets[0]), useCompression=True)
        return
    for number, target in enumerate(targets):
        size = [*image.GetSize()[:3], 0]
        SimpleITK.WriteImage(SimpleITK.Extract(image, size, [0, 0, 0, number]), str(target), useCompression=True)


def _image(file: SourceFile) -> Any:
    import SimpleITK

    first = Path(file.paths[0])
    if is_series(file):
        return series_of(file)
    if first.name.lower().endswith(TIFF):
        voxels, spacing = stack_of(first)
        image = SimpleITK.GetImageFromArray(voxels)
        image.SetSpacing(spacing[::-1])
        return image
    return SimpleITK.ReadImage(str(first))


def _write_masks(writing: Writing, files: Sequence[SourceFile], target: Path) -> int:
    """Merge masks, the later over the earlier; returns the voxels that several claimed."""
    highest = max((new for values in writing.values for new in values.values()), default=0)
    merged, overlap, like = None, 0, None
    for file, values in zip(files, writing.values, strict=True):
        voxels, image = _mask(file)
        if merged is None:
            merged, like = numpy.zeros(voxels.shape, numpy.uint8 if highest < 256 else numpy.uint16), image
        if voxels.shape != merged.shape:
            raise Damaged(f"{file.name} has another size than the masks before it")
        before = merged > 0
        for old, new in ((old, new) for old, new in values.items() if new):
            here = voxels == old
            overlap += int((here & before).sum())
            merged[here] = new
    _save_mask(merged, like, Path(files[0].paths[0]), target)
    return overlap


def _mask(file: SourceFile) -> tuple[Any, Any]:
    """The voxels, and the image with their geometry; None for a picture."""
    import SimpleITK

    first = Path(file.paths[0])
    if first.name.lower().endswith(PICTURES) or (first.name.lower().endswith(TIFF) and is_flat(first)):
        return in_colours(picture_of(first, mask=True)[0], "grey"), None
    image = _image(file)
    voxels = SimpleITK.GetArrayFromImage(image)
    refuse_too_large(float(voxels.nbytes))
    return voxels, image


def _save_mask(voxels: Any, image: Any, source: Path, target: Path) -> None:
    if image is None:
        save_png(voxels, target)
    elif source.name.lower().endswith(NIFTI) and target.name.endswith(NIFTI):
        _save_as_nifti(voxels, source, target)
    else:
        import SimpleITK

        written = SimpleITK.GetImageFromArray(voxels)
        written.CopyInformation(image)
        SimpleITK.WriteImage(written, str(target), useCompression=True)


def _save_as_nifti(voxels: Any, source: Path, target: Path) -> None:
    """With the header of the source, so that the geometry is the same to the last bit."""
    import nibabel

    image = nibabel.load(source)
    header = image.header.copy()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    nibabel.save(nibabel.Nifti1Image(voxels.transpose(), image.affine, header), target)

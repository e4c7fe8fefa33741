"""Find truncated images. ITK, with which nnU-Net reads NIfTI, fills the missing part with zeros and reports nothing."""

import gzip
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..whole_images import voxels_elsewhere
from .stage import StageFailure

BLOCK = 1 << 20


def refuse_damaged(files: Iterable[Path], *, threads: int, tell: Callable[[int], None]) -> None:
    """Read every compressed file to its end, and compare the size of every NIfTI file with its header.

    `tell` is called with the number of finished files.

    Raises:
        StageFailure: a file is damaged; the message names it.
    """
    with ThreadPoolExecutor(threads) as pool:  # zlib releases the interpreter's lock
        for done, (path, problem) in enumerate(pool.map(_examine, files), 1):
            tell(done)
            if problem:
                raise StageFailure(
                    f"the file {path.name} cannot be read whole",
                    f"{path.parent.name}/{path.name}: {problem}",
                    "Export or copy this file again; it is damaged or not of the format its name says.",
                )


def _examine(path: Path) -> tuple[Path, str]:
    try:
        if why := voxels_elsewhere(path):
            return path, why
        size = _decompressed_size(path) if path.suffix == ".gz" else path.stat().st_size
        expected = _expected_size(path)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        return path, f"{type(error).__name__}: {error}"
    return path, f"{size} bytes of data, {expected} expected" if size < expected else ""


def _decompressed_size(path: Path) -> int:
    size = 0
    with gzip.open(path) as stream:
        while block := stream.read(BLOCK):
            size += len(block)
    return size


def _expected_size(path: Path) -> int:
    """The bytes that a NIfTI header promises; 0 for other formats, whose readers notice missing data."""
    if not path.name.endswith((".nii", ".nii.gz")):
        return 0
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        image = nibabel.load(path)
    except (ImageFileError, HeaderDataError) as error:
        raise ValueError(str(error)) from error
    voxels = 1
    for length in image.shape:
        voxels *= int(length)
    return int(image.dataobj.offset) + voxels * int(image.get_data_dtype().itemsize)


def readable_whole(path: Path) -> bool:
    """Whether a file is complete; formats other than NIfTI are assumed to be."""
    return not _examine(path)[1]

"""Find images whose voxels lie in another file. Image readers follow such references anywhere, so we refuse them.

MetaImage and NRRD headers may name a data file, HDF5 files external storage, OME-TIFF files other TIFFs. ITK looks at
the content, not at the ending: it reads an HDF5 file whatever its name is (SimpleITK 2.5.7).
"""

import re
from pathlib import Path
from typing import IO

from .files import open_plain

# What nnU-Net's readers take (2.8.1, imageio/).
CASE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl.gz", ".gipl", ".png", ".bmp", ".tif", ".tiff")
HEAD = 1 << 16
HDF5 = b"\x89HDF\r\n\x1a\n"
FIRST_PLACE = 512  # offsets of HDF5's signature after 0; each is twice the one before (HDF5 file format, III.A)
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BLOCK = 1 << 24
META = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
NRRD = re.compile(rb"^data ?file[ \t]*:", re.MULTILINE | re.IGNORECASE)
OME = re.compile(rb"FileName\s*=\s*[\"']([^\"']*)")


def voxels_elsewhere(path: Path) -> str:
    """Why an image depends on another file; empty if it does not.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    with open_plain(path) as stream:
        head = stream.read(HEAD)
        if _is_hdf5(stream):
            return "it is an HDF5 file, which may keep its voxels in other files"
        if any(value.strip().upper() != b"LOCAL" for value in META.findall(head)):
            return "its header names another file for the voxels (ElementDataFile)"
        if head.startswith(b"NRRD") and NRRD.search(head.partition(b"\n\n")[0]):
            return "its header names another file for the voxels (data file)"
        if head.startswith(TIFF) and any(name != path.name.encode() for name in _ome_files(stream)):
            return "it is part of an OME-TIFF of several files"
    return ""


def _is_hdf5(stream: IO[bytes]) -> bool:
    size, place = stream.seek(0, 2), 0
    while place + len(HDF5) <= size:
        stream.seek(place)
        if stream.read(len(HDF5)) == HDF5:
            return True
        place = 2 * place or FIRST_PLACE
    return False


def _ome_files(stream: IO[bytes]) -> list[bytes]:
    """The files that the OME header of a TIFF names."""
    stream.seek(0)
    found, before = [], b""
    while block := stream.read(BLOCK):
        found += OME.findall(before + block)
        before = block[-HEAD // 16 :]
    return found

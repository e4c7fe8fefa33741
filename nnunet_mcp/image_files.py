"""The images in a folder of any layout, by their names below it. No image is opened."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .allowed_paths import allowed_path
from .errors import Refused, RunError
from .files import open_plain
from .schemas.datasets import SourceFile
from .settings import Settings
from .whole_images import CASE_ENDINGS, HEAD, META

TIFF = (".tif", ".tiff")
PICTURES = (".png", ".bmp", ".jpg", ".jpeg", ".gif")
ENDINGS = (*CASE_ENDINGS, ".mhd", *PICTURES[2:])
MOST_FILES = 500_000  # as many DICOM slices as a thousand large scans have; listing them takes seconds
DICM = 128  # bytes before DICOM's mark (PS3.10, 7.1)


@dataclass
class Listing:
    """What lies in a folder: images by name, and everything else with the reason why it is none."""

    files: dict[str, SourceFile] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)


def ending_of(name: str) -> str:
    """The image ending as it is written in the name, or ""."""
    lower = name.lower()
    return next((name[-len(ending) :] for ending in ENDINGS if lower.endswith(ending)), "")


def is_series(name: str) -> bool:
    """Whether a listed image is a folder's DICOM files, which may be several series."""
    return name.rpartition("/")[2].startswith("*")


def list_files(folder: Path, settings: Settings, prefix: str = "") -> Listing:
    """Every image below the folder, named by its path below it after `prefix`.

    Raises:
        Refused: there are too many files.
    """
    found = Listing()
    for path, below, names in _walk(folder, found, settings, prefix):
        _sort(path, names, below, found)
    return found


def _walk(folder: Path, found: Listing, settings: Settings, prefix: str) -> Iterator[tuple[Path, str, list[str]]]:
    """Each folder, how names in it begin, and its readable files. No links to folders: they may lead in circles."""
    count = 0
    for place, folders, names in os.walk(folder):
        path = Path(place)
        below = prefix if path == folder else f"{prefix}{path.relative_to(folder)}/"
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [name for name in folders if (path / name).is_symlink()]:
            found.others[f"{below}{name}"] = "a link to a folder"
        kept = []
        for name in sorted(name for name in names if not name.startswith(".")):
            if why := _not_read(path / name, settings):
                found.others[f"{below}{name}"] = why
            else:
                kept.append(name)
        count += len(names)
        if count > MOST_FILES:
            raise Refused(f"{folder} holds more than {MOST_FILES} files. Name a folder with fewer as source.")
        yield path, below, kept


def _not_read(path: Path, settings: Settings) -> str:
    if path.name != path.name.encode(errors="ignore").decode():
        return "its name is no valid UTF-8"
    if path.is_symlink():
        try:
            allowed_path(settings, str(path), what="file")
        except RunError:
            return "a link that leads nowhere or out of the allowed folders"
    return "" if path.is_file() else "no regular file"


def _sort(path: Path, names: list[str], below: str, found: Listing) -> None:
    """Sort a folder's files: images, series of DICOM files, voxels of a .mhd, others."""
    series: dict[str, list[str]] = defaultdict(list)
    voxels: set[str] = set()
    for name in names:
        if not (ending := ending_of(name)):
            if _is_dicom(path / name):
                series[Path(name).suffix if Path(name).suffix.lower() in (".dcm", ".ima") else ""].append(name)
            else:
                found.others[f"{below}{name}"] = "no image"
            continue
        beside = _beside(path / name, ending.lower())
        voxels |= {one.name for one in beside}
        found.files[f"{below}{name}"] = SourceFile(name=f"{below}{name}", paths=(str(path / name), *map(str, beside)))
    for suffix, slices in series.items():
        name = f"{below}*{suffix}"
        found.files[name] = SourceFile(name=name, paths=tuple(str(path / one) for one in slices))
    for name in voxels:
        found.others.pop(f"{below}{name}", None)


def _is_dicom(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        with open_plain(path) as stream:
            return stream.read(DICM + 4)[DICM:] == b"DICM"
    except OSError:
        return False


def _beside(path: Path, ending: str) -> list[Path]:
    """The file that belongs to an image: the voxels of a .mhd, the JSON file with the spacing of a TIFF."""
    if ending in (".tif", ".tiff"):
        spacing = path.with_suffix(".json")
        return [spacing] if spacing.is_file() else []
    return _voxels_of(path) if ending == ".mhd" else []


def _voxels_of(header: Path) -> list[Path]:
    """The file with the voxels, if it lies beside the header."""
    with suppress(OSError, UnicodeDecodeError), open_plain(header) as stream:
        for value in META.findall(stream.read(HEAD)):
            named = value.strip().decode()
            if Path(named).name == named and (header.parent / named).is_file():
                return [header.parent / named]
    return []

"""Which files tools may read: those in the nnU-Net folders and in NNUNET_MCP_ALLOWED_DIRS."""

import os
from pathlib import Path

from .errors import NotFound, Refused
from .settings import Settings, absolute
from .whole_images import voxels_elsewhere


def allowed_path(settings: Settings, given: str, *, what: str) -> Path:
    """A path from a request, with links resolved, if tools may read there.

    Raises:
        Refused: it lies elsewhere, or is not a usable path.
        NotFound: it does not exist.
    """
    path = _resolved(given, what)
    roots = _resolved_roots(settings)
    if not any(path.is_relative_to(root) for root in roots):
        raise _outside(given, what, roots, "Add")
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists() raises for a name that is too long
        raise NotFound(f"{what} {given!r} does not exist.")
    return path


def refuse_outside(settings: Settings, given: str, *, what: str) -> Path:
    """A path to write to, with links resolved; it need not exist.

    Raises:
        Refused: it lies outside the folders that tools may use, or is one of them.
    """
    path = _resolved(given, what)
    roots = _resolved_roots(settings)
    if not any(path.is_relative_to(root) and path != root for root in roots):
        raise _outside(given, what, roots, "Choose one of these, or add")
    return path


def _outside(given: str, what: str, roots: list[Path], way: str) -> Refused:
    listed = ", ".join(map(str, roots))
    return Refused(
        f"{what} {given!r} lies outside the allowed folders ({listed}). {way} its folder to NNUNET_MCP_ALLOWED_DIRS."
    )


def _resolved(given: str, what: str) -> Path:
    if "\0" in given or not given.strip():
        raise Refused(f"{what} {given!r} is not a path.")
    try:
        return Path(os.path.realpath(Path(given).expanduser()))  # realpath, so that links cannot lead elsewhere
    except RuntimeError:
        raise Refused(f"{what} {given!r}: there is no such home folder. Write the path out.") from None
    except ValueError:
        raise Refused(f"{what} {given!r} is not a path.") from None


def _resolved_roots(settings: Settings) -> list[Path]:
    return [Path(os.path.realpath(root)) for root in settings.allowed_roots]


def readable(path: Path, settings: Settings) -> Path:
    """A file of a dataset, if tools may read it.

    Inside the nnU-Net folders links are followed wherever they lead: their owner made them, as large data often lie on
    another disk. A path outside, which dataset.json can name, is resolved and checked.

    Raises:
        Refused: it lies elsewhere.
    """
    plain = absolute(path)
    owned = [*(settings.folder(which) for which in ("raw", "preprocessed", "results")), settings.state_dir]
    if any(plain.is_relative_to(folder) for folder in owned):
        return plain
    return allowed_path(settings, str(path), what="file")


def readable_file(path: Path, settings: Settings) -> Path:
    """As `readable`, for an image that is one regular file: reading it never waits for a FIFO and opens no second file.

    Raises:
        Refused: it lies elsewhere, or is none.
    """
    found = readable(path, settings)
    if not found.is_file():
        raise Refused(f"{found} is no regular file. Remove it, or put a copy of the image there.")
    if why := voxels_elsewhere(found):
        raise Refused(f"{found}: {why}. Write the image into one file.")
    return found

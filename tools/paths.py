"""Which files tools may read: those in the nnU-Net folders and in NNUNET_MCP_ALLOWED_DIRS."""

import os
from pathlib import Path

from ..runs.errors import NotFound, Refused
from ..runs.settings import Settings, absolute


def allowed_path(settings: Settings, given: str, *, what: str) -> Path:
    """A path that an agent named, with links resolved, if it lies where tools may read.

    Raises:
        Refused: it lies elsewhere, or is not a usable path.
        NotFound: it does not exist.
    """
    if "\0" in given or not given.strip():
        raise Refused(f"{what} {given!r} is not a path.")
    path = Path(os.path.realpath(Path(given).expanduser()))  # realpath, so that links cannot lead elsewhere
    roots = [Path(os.path.realpath(root)) for root in settings.allowed_roots]
    if not any(path.is_relative_to(root) for root in roots):
        listed = ", ".join(map(str, roots))
        raise Refused(
            f"{what} {given!r} lies outside the allowed folders ({listed}). Add its folder to NNUNET_MCP_ALLOWED_DIRS."
        )
    if not path.exists():
        raise NotFound(f"{what} {given!r} does not exist.")
    return path


def refuse_outside(settings: Settings, given: str, *, what: str) -> Path:
    """A path that is to be written, with links resolved; it need not exist.

    Raises:
        Refused: it lies outside the folders that tools may use, or is one of them.
    """
    path = Path(os.path.realpath(Path(given).expanduser())) if "\0" not in given and given.strip() else None
    if path is None:
        raise Refused(f"{what} {given!r} is not a path.")
    roots = [Path(os.path.realpath(root)) for root in settings.allowed_roots]
    if not any(path.is_relative_to(root) and path != root for root in roots):
        listed = ", ".join(map(str, roots))
        raise Refused(f"{what} {given!r} lies outside the allowed folders ({listed}).")
    return path


def readable(path: Path, settings: Settings) -> Path:
    """The path, if it lies where tools may read. A link inside the nnU-Net folders is its owner's own choice.

    Raises:
        Refused: dataset.json names a file elsewhere.
    """
    plain = absolute(path)
    if any(plain.is_relative_to(folder) for folder in settings.allowed_roots):
        return plain
    return allowed_path(settings, str(path), what="file")

"""Looks into a dataset's images, kept with the identity of the files: an unchanged file is not opened again."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from ...allowed_paths import readable
from ...errors import RunError
from ...files import make_folder, read_model, write_model
from ...locks import held, lock_name
from ...nnunet.cases import is_text, list_cases
from ...nnunet.dataset_json import Description
from ...nnunet.datasets import DatasetFiles, listed_files
from ...runs.layout import StateDir
from ...schemas.datasets import CaseLook, CasePaths, LookJob, Reader
from ...settings import Settings
from .looking import LookEnded, looks_of

VERSION = 3  # the version of what a look contains; after a change every kept look is outdated
SAVE_EVERY_S = 5.0
READERS: dict[str, Reader] = {
    "SimpleITKIO": "simpleitk",
    "SimpleITKIOWithReorient": "simpleitk",
    "NibabelIO": "nibabel",
    "NibabelIOWithReorient": "nibabel",
    "NaturalImage2DIO": "natural",
    "Tiff3DIO": "tiff",
}
BY_ENDING: dict[str, Reader] = {".png": "natural", ".bmp": "natural", ".tiff": "tiff", ".nii": "nibabel"}
Tell = Callable[[int, int], None]


class KeptLook(BaseModel):
    """A look into files that had this `identity`."""

    identity: str
    look: CaseLook


class KeptLooks(BaseModel):
    """The file with the kept looks of a dataset."""

    version: int
    cases: dict[str, KeptLook] = {}


@dataclass
class Looks:
    """How far a look into a dataset has come."""

    wanted: int
    reader: Reader | None
    found: dict[str, CaseLook] = field(default_factory=dict)
    not_allowed: list[str] = field(default_factory=list)
    ended: str = ""  # why the look could not continue
    partial: bool = False  # the time was up before all cases were done

    @property
    def complete(self) -> bool:
        return len(self.found) == self.wanted and not self.not_allowed


def reader_of(description: Description) -> Reader | None:
    """The reader that nnU-Net chooses, or None where it tries one of two.

    Source: nnunetv2 2.8.1, imageio/reader_writer_registry.py.
    """
    own = READERS.get(str(description.content.get("overwrite_image_reader_writer")))
    if own is not None or description.file_ending.lower() == ".tif":
        return own
    return BY_ENDING.get(description.file_ending.lower(), "simpleitk")


def look_into(
    files: DatasetFiles, description: Description, settings: Settings, *, budget_s: float, tell: Tell | None = None
) -> Looks:
    """Look at every case that is new or has changed, for at most `budget_s`. `tell` gets the cases done and all cases.

    With a budget of 0 nothing is opened: only looks that are kept and still valid are returned.
    """
    cases, not_allowed = case_paths(files, description, settings)
    looks = Looks(len(cases), reader_of(description), not_allowed=not_allowed)
    keeping = _Keeping(settings, files, looks.reader)
    identities = {case.case: _identity(case) for case in cases}
    known = keeping.read().cases
    for name, identity in identities.items():
        if name in known and known[name].identity == identity:
            looks.found[name] = known[name].look
    todo = tuple(case for case in cases if case.case not in looks.found)
    if todo and budget_s > 0:
        _look_at(todo, looks, keeping, identities, settings, budget_s, tell)
        looks.partial = len(looks.found) < looks.wanted and not looks.ended
    return looks


def looked_at(files: DatasetFiles, description: Description, settings: Settings) -> bool:
    """Whether anything is known of the dataset; no file of it is asked for."""
    kept = _Keeping(settings, files, reader_of(description)).path
    return os.path.exists(kept)  # noqa: PTH110 - Path.exists() raises where one may not look


def _look_at(
    todo: tuple[CasePaths, ...],
    looks: Looks,
    keeping: "_Keeping",
    identities: dict[str, str],
    settings: Settings,
    budget_s: float,
    tell: Tell | None,
) -> None:
    fresh: dict[str, KeptLook] = {}
    saved = time.monotonic()
    try:
        job = LookJob(cases=todo, reader=looks.reader)
        with contextlib.closing(looks_of(job, settings.nnunet_python, budget_s)) as coming:
            for look in coming:
                if look is not None:
                    looks.found[look.case] = look
                    if look.kept:
                        fresh[look.case] = KeptLook(identity=identities[look.case], look=look)
                if tell is not None:
                    tell(len(looks.found), looks.wanted)
                if time.monotonic() - saved > SAVE_EVERY_S:
                    keeping.add(fresh, identities)
                    saved = time.monotonic()
    except LookEnded as error:
        looks.ended = str(error)
    finally:
        keeping.add(fresh, identities)


class _Keeping:
    """The file that keeps a dataset's looks; several servers may add to it."""

    def __init__(self, settings: Settings, files: DatasetFiles, reader: Reader | None) -> None:
        state = StateDir.of(settings)
        mark = hashlib.sha256(f"{files.raw}\0{reader}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
        self.path = state.looks_dir / f"{files.name[:10]}-{mark}.json"
        self._lock = state.locks_dir / lock_name("looks", self.path.stem)

    def read(self) -> KeptLooks:
        with contextlib.suppress(OSError):
            kept = read_model(self.path, KeptLooks)
            if kept is not None and kept.version == VERSION:
                return kept
        return KeptLooks(version=VERSION)

    def add(self, fresh: dict[str, KeptLook], present: dict[str, str]) -> None:
        """Add looks, and forget cases that are gone. If the disk is full, the next call has to look again."""
        if not fresh:
            return
        with contextlib.suppress(OSError, TimeoutError):
            make_folder(self.path.parent)
            with held(self._lock):
                cases = {**self.read().cases, **fresh}
                kept = {name: look for name, look in cases.items() if name in present}
                write_model(self.path, KeptLooks(version=VERSION, cases=kept), durable=False)


def case_paths(files: DatasetFiles, description: Description, settings: Settings) -> tuple[list[CasePaths], list[str]]:
    """The files of each case that has images, and the cases whose files tools may not read."""
    listed = description.listed
    found = _listed(files.raw, listed) if listed is not None else _in_folders(files.raw, description)
    allowed = [case for case in found if _may_read(case, settings)]
    refused = {case.case for case in found} - {case.case for case in allowed}
    return [case for case in allowed if _is_text(case)], sorted(refused)


def _listed(raw: Path, listed: dict[str, object]) -> list[CasePaths]:
    found = []
    for name, entry in sorted(listed.items()):
        paths, truth = listed_files(raw, entry)
        if paths and all(path.exists() for path in (*paths, truth)):
            found.append(CasePaths.model_construct(case=name, images=tuple(map(str, paths)), label=str(truth)))
    return found


def _in_folders(raw: Path, description: Description) -> list[CasePaths]:
    ending = description.file_ending
    found = list_cases(raw, ending)
    cases = []
    for name, channels in sorted(found.images.items()):
        images = tuple(str(raw / "imagesTr" / f"{name}_{channel:04d}{ending}") for channel in sorted(channels))
        label = str(raw / "labelsTr" / f"{name}{ending}") if name in found.labels else None
        cases.append(CasePaths.model_construct(case=name, images=images, label=label))
    return cases


def _may_read(case: CasePaths, settings: Settings) -> bool:
    try:
        for path in filter(None, (*case.images, case.label)):
            readable(Path(path), settings)
    except RunError:
        return False
    return True


def _is_text(case: CasePaths) -> bool:
    """Whether a name is valid UTF-8; `file_problems` reports the others."""
    return all(is_text(path) for path in filter(None, (*case.images, case.label)))


def _identity(case: CasePaths) -> str:
    """A digest of the files' paths, sizes, times and inodes, with the file that holds a TIFF's spacing."""
    digest = hashlib.sha256()
    for path in filter(None, (*case.images, case.label)):
        beside = [path]
        if path.endswith((".tif", ".tiff")):
            stem = path[: path.rindex(".")]
            beside += [f"{stem}.json", f"{stem[:-5]}.json"]
        for name in beside:
            digest.update(f"{name}\0{_stamp(name)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


def _stamp(path: str) -> str:
    try:
        found = Path(path).stat()
    except OSError:
        return "-"
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {found.st_dev}"

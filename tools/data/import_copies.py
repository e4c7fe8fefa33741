"""Which files of a source become which files of the imported dataset."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...allowed_paths import allowed_path
from ...errors import Refused
from ...nnunet.cases import TIFF, CaseFiles, list_cases
from ...nnunet.dataset_json import Description
from ...nnunet.datasets import listed_names, one_file_of_colours
from ...settings import Settings
from ...texts import clean, some


@dataclass(frozen=True)
class Copy:
    """One file to copy: as it is, or one of the `channels` of a 4D image."""

    source: Path
    target: str
    channel: int | None = None
    channels: int = 1


def copies_of(source: Path, description: Description, settings: Settings) -> list[Copy]:
    """All files to copy, each from a folder that tools may read.

    Raises:
        NotFound, Refused: a file is missing, lies elsewhere, or has a name that cannot be kept.
    """
    copies = list(_copies(source, description))
    copies += [beside for copy in copies for beside in _spacing_of(copy)]
    for copy in copies:
        allowed_path(settings, str(copy.source), what="the source's file")
    _refuse_doubles([copy.target for copy in copies])
    return copies


def _refuse_doubles(targets: list[str]) -> None:
    if doubles := sorted(target for target, count in Counter(targets).items() if count > 1):
        raise Refused(f"Several files of the source would become {some(doubles)}. Keep one of each.")


def _copies(source: Path, description: Description) -> Iterator[Copy]:
    ending = description.file_ending
    train, test = list_cases(source, ending), list_cases(source, ending, "Ts")
    if description.listed is not None:
        yield from _listed_copies(source, description.listed, description)
    else:
        yield from _images(source / "imagesTr", train.unnumbered, description)
        yield from (Copy(path, f"labelsTr/{path.name}") for path in _files(source / "labelsTr", ending))
    yield from _images(source / "imagesTs", _unnumbered_tests(train, test, description), description)


def _images(folder: Path, unnumbered: list[str], description: Description) -> Iterator[Copy]:
    without = set(unnumbered)
    for path in _files(folder, description.file_ending):
        case = path.name.removesuffix(description.file_ending)
        if case in without:
            yield from _image_copies(path, f"{folder.name}/{case}", description)
        else:
            yield Copy(path, f"{folder.name}/{path.name}")


def _unnumbered_tests(train: CaseFiles, test: CaseFiles, description: Description) -> list[str]:
    """Test images have no labels to compare with, so they are taken to be named as the training images are."""
    numbers = {number for channels in test.images.values() for number in channels}
    if train.images or numbers <= set(range(len(description.channels))):
        return test.unnumbered
    return [*test.unnumbered, *(f"{case}_{n:04d}" for case, channels in test.images.items() for n in channels)]


def _files(folder: Path, ending: str) -> list[Path]:
    # MSD archives contain macOS resource forks (._case.nii.gz), which are no images.
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.endswith(ending) and p.name[0] != "." and p.is_file())


def _image_copies(path: Path, stem: str, description: Description) -> Iterator[Copy]:
    """The copies of an image that may hold all channels: one file for each channel; the colours of a picture stay
    together."""
    ending, channels = description.file_ending, len(description.channels)
    if channels == 1 or one_file_of_colours(ending, channels):
        yield Copy(path, f"{stem}_0000{ending}")
    else:
        for channel in range(channels):
            yield Copy(path, f"{stem}_{channel:04d}{ending}", channel, channels)


def _spacing_of(copy: Copy) -> Iterator[Copy]:
    """The JSON file that holds a TIFF's spacing; it is named after the case (tif_reader_writer.py:53)."""
    if not copy.source.name.endswith(TIFF):
        return
    stem, target = copy.source.stem, Path(copy.target).with_suffix("")
    if target.parent.name != "labelsTr":
        if not target.name.endswith("_0000"):
            return
        target = target.with_name(target.name[:-5])
    for name in (stem, stem[:-5]):
        beside = copy.source.with_name(f"{name}.json")
        if beside.is_file():
            yield Copy(beside, f"{target}.json")
            return


def _listed_copies(source: Path, listed: dict[str, object], description: Description) -> Iterator[Copy]:
    """The copies of the files that dataset.json names for each case, wherever they lie."""
    ending = description.file_ending
    for case, entry in sorted(listed.items()):
        images, label = listed_names(entry)
        _refuse_odd_entry(case, images, label, description)
        if len(images) == 1:
            yield from _image_copies(source / images[0], f"imagesTr/{case}", description)
        else:
            for channel, name in enumerate(images):
                yield Copy(source / name, f"imagesTr/{case}_{channel:04d}{ending}")
        yield Copy(source / label, f"labelsTr/{case}{ending}")


def _refuse_odd_entry(case: str, images: list[str], label: str, description: Description) -> None:
    where, files = f"dataset.json lists the case {clean(case)!r}", (*images, label)
    if Path(case).name != case or case.startswith(".") or not case.isprintable():
        raise Refused(f"{where}, which can be no file name. Rename it.")
    if not all(files) or not images:
        raise Refused(f"{where} without images or without label. Name them as {{'images': [...], 'label': ...}}.")
    # A copy must not depend on the environment variables of the reader, nor reveal them.
    if named := next((name for name in files if "$" in name), None):
        raise Refused(f"{where} with the file {clean(named)!r}: names with $ are not imported. Write the paths out.")
    if odd := next((name for name in files if not name.endswith(description.file_ending)), None):
        raise Refused(f"{where} with the file {clean(odd)!r}, which does not end in {description.file_ending}.")

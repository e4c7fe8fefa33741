"""The training cases of a dataset folder: their files, and what is wrong with them. No image is opened."""

import hashlib
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal

from ..errors import NotFound
from ..files import Stamp, open_plain, stamp
from ..texts import clean, numbered, some, told
from .dataset_json import Description
from .datasets import CASE_ENDINGS, DatasetFiles, channel_of, listed_names, listed_path, one_file_of_colours

TIFF = (".tif", ".tiff")
SEPARATORS = "._- "
# nnU-Net 2.8.1 takes CASE_seg.b2nd for the labels of CASE (training/dataloading/nnunet_dataset.py:326, 465).
SEGMENTATION = "_seg"
MOST_CHANNELS = 8
# Of each image that has the size of another, these parts are compared first: 0.3 GB for as many as are looked at. What
# agrees in them is compared whole, for 5 s of the minute that clients allow a call; the next call goes on.
EXCERPTS, EXCERPT_BYTES, MOST_COMPARED = 16, 4096, 5000
COMPARE_S, BLOCK = 5.0, 1 << 20
Part = Literal["Tr", "Ts"]


@dataclass
class CaseFiles:
    """The files of imagesTr and labelsTr by case."""

    images: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    unnumbered: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)


def list_cases(folder: Path, ending: str, part: Part = "Tr") -> CaseFiles:
    """Read the listings of the images and labels of the training (Tr) or test (Ts) cases."""
    found = CaseFiles(labels=set(_names(folder / f"labels{part}", ending)))
    images = _names(folder / f"images{part}", ending)
    there = set(images)
    for name in images:
        match = channel_of(name, there, found.labels)
        if match is None:
            found.unnumbered.append(name)
        else:
            found.images[match["case"]].add(int(match["channel"]))
    return found


def _names(folder: Path, ending: str) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name.removesuffix(ending) for p in folder.iterdir() if p.name.endswith(ending) and p.name[0] != ".")


def file_problems(folder: Path, description: Description) -> list[str]:
    """Everything that would stop nnU-Net, each with the cases and what to do."""
    if description.listed is not None:
        return _listed_problems(folder, description.listed)
    files = list_cases(folder, description.file_ending)
    ending = description.file_ending
    if not files.images and not files.unnumbered:
        return [f"imagesTr has no {ending} files{_what_is_there(folder / 'imagesTr', ending)}"]
    problems = _hidden_problems(folder / "imagesTr", ending)
    problems += _unnumbered_problems(files, ending)
    problems += _channel_problems(files, set(range(len(description.channels))), ending)
    named = {label for name in files.unnumbered if (label := _own_label(name, files.labels))}
    missing = sorted(set(files.images) - files.labels)
    extra = sorted(files.labels - set(files.images) - set(files.unnumbered) - named)
    by_sight = {_plain(label): label for label in extra}
    alike = {image: by_sight[_plain(image)] for image in missing if _plain(image) in by_sight}
    if alike:
        pairs = [f"{clean(image)} and {clean(label)}" for image, label in alike.items()]
        problems.append(
            f"images and labels whose names differ in letter case, spaces or the encoding of accents: {some(pairs)}. "
            "Rename the labels."
        )
        missing, extra = sorted({*missing} - {*alike}), sorted({*extra} - {*alike.values()})
    if missing:
        problems.append(f"no label file in labelsTr for: {some(missing)}. Add CASE{ending}, or remove the images.")
    if extra:
        problems.append(f"no image in imagesTr for the labels: {some(extra)}. Add the images, or remove the labels.")
    if taken := sorted(name for name in files.images if name.endswith(SEGMENTATION)):
        problems.append(
            f"cases whose names end in {SEGMENTATION}, which nnU-Net leaves out without a word: {some(taken)}. "
            "Rename their images and labels."
        )
    if unspoken := sorted(name for name in {*files.images, *files.labels} if not is_text(name)):
        problems.append(f"file names that are no valid UTF-8: {some(unspoken)}. Rename them.")
    return problems


def _what_is_there(images: Path, ending: str) -> str:
    """What a folder without images of the declared ending has, and what to do, to end the sentence."""
    names = [path.name for path in images.iterdir() if path.name[0] != "."] if images.is_dir() else []
    if not names:
        return f". Put the training images there as CASE_0000{ending}."
    found = Counter(_ending(name) for name in names)
    counts = some([f"{count} {there or 'without ending'}" for there, count in found.most_common()])
    usual = found.most_common(1)[0][0]
    if usual in CASE_ENDINGS:
        return f", but {counts}. Set file_ending to {usual} in dataset.json."
    if usual.lower() == ending:
        return f", but {counts}: nnU-Net minds the letter case. Rename the files to {ending}."
    return f", but {counts}. Import the folder under a free id, which converts them, or save them as {ending}."


def _ending(name: str) -> str:
    """The last part of a name, or its last two for what is compressed."""
    parts = Path(name).suffixes
    return "".join(parts[-2:] if len(parts) > 1 and parts[-1].lower() == ".gz" else parts[-1:])


def _unnumbered_problems(files: CaseFiles, ending: str) -> list[str]:
    if not files.unnumbered:
        return []
    name, own = files.unnumbered[0], _own_label(files.unnumbered[0], files.labels)
    if len(files.unnumbered) > 1 and all(there.endswith("_0000") for there in files.unnumbered):
        case = name.removesuffix("_0000")
        return [
            f"labels with a channel number, which only images have: {some(files.unnumbered)}. Rename the labels: "
            f"{clean(name)}{ending} becomes {clean(case)}{ending}."
        ]
    number = int(name[len(own) :].lstrip(SEPARATORS)) if own else 0
    return [
        f"images without a channel number (CASE_0000{ending}): {some(files.unnumbered)}. Import the folder "
        f"under a free id, or rename them: {clean(name)}{ending} becomes {clean(own or name)}_{number:04d}{ending}."
    ]


def _own_label(name: str, labels: set[str]) -> str:
    """The label of an image whose channel is written otherwise, such as case.0000 or case_000; empty if none."""
    stem = name.rstrip("0123456789")
    found = stem.rstrip(SEPARATORS)
    return found if name not in labels and stem != name and len(stem) - len(found) == 1 and found in labels else ""


def _plain(name: str) -> str:
    """A name as file systems that mind neither letter case nor the encoding of accents see it."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def _hidden_problems(images: Path, ending: str) -> list[str]:
    """Find hidden files: nnU-Net reads every file of that ending as an image (2.8.1, utilities/utils.py:24)."""
    hidden = sorted(path.name for path in images.glob(f".*{ending}"))
    if not hidden:
        return []
    return [
        f"hidden files in imagesTr that nnU-Net takes for images: {some(hidden)}. Delete them (macOS leaves those "
        "that begin with ._ on other disks; they hold no image)."
    ]


def _listed_problems(folder: Path, listed: dict[str, object]) -> list[str]:
    """Check the files of a dataset.json that lists the files of each case itself."""
    if not listed:
        return ["dataset.json lists no cases. Name them in dataset, or remove it and use imagesTr and labelsTr."]
    missing = []
    for case, entry in sorted(listed.items()):
        images, label = listed_names(entry)
        absent = [name or "no label" for name in (*images, label) if not listed_path(folder, name).is_file()]
        if absent or not images:
            missing.append((case, ", ".join(map(clean, absent[:2])) or "no images"))
    if not missing:
        return []
    return [f"files that dataset.json lists and that do not exist: {told(missing)}. Add them, or correct the list."]


def file_warnings(folder: Path, description: Description) -> list[str]:
    """What is odd about the names and places of files, and would not stop nnU-Net."""
    ending, extra = description.file_ending, unread_files(folder, description)
    names = sorted(list_cases(folder, ending).images) if description.listed is None else []
    twins = [f"{clean(a)} and {clean(b)}" for a, b in pairwise(sorted(names, key=_plain)) if _plain(a) == _plain(b)]
    same = _also_for_testing(folder, ending)
    found = []
    if twins:
        found.append(
            f"cases whose names differ only in letter case, spaces or the encoding of accents: {some(twins)}. They are "
            "one file on macOS and Windows: rename them."
        )
    if same:
        found.append(
            f"test images that are training images, too: {some(same)}. They measure nothing: remove one of each."
        )
    if not extra:
        return found
    return [
        *found,
        f"files that nnU-Net ignores, because they do not end in {ending}: {some(extra)}. Convert or remove them.",
    ]


def unread_files(folder: Path, description: Description) -> list[str]:
    """Files beside the cases that nnU-Net does not read."""
    ending = description.file_ending
    kept = (ending, ".json") if ending in TIFF else (ending,)
    return [
        f"{name}/{path.name}"
        for name in ("imagesTr", "labelsTr")
        if (folder / name).is_dir() and description.listed is None
        for path in sorted((folder / name).iterdir())
        if not path.name.endswith(kept) and not path.name.startswith(".")
    ]


def _also_for_testing(folder: Path, ending: str) -> list[str]:
    """Images of imagesTs that are those of imagesTr, byte by byte."""
    trained, tested = (sorted((folder / name).glob(f"[!.]*{ending}")) for name in ("imagesTr", "imagesTs"))
    return [f"{one.name} = {other.name}" for one, other in same_files(tested, trained, (folder,))[0]]


def same_files(
    files: Iterable[Path], others: Iterable[Path], inside: tuple[Path, ...]
) -> tuple[list[tuple[Path, Path]], bool]:
    """Each file that is one of the others or has its content, with that one; and whether all contents were compared:
    that ends after seconds. Files that do not lie inside these folders are not read."""
    tested, seen = ({path: now for path in paths if (now := stamp(str(path))) is not None} for paths in (files, others))
    known_as = {known: path for path, known in seen.items()}
    found = [(path, known_as[known]) for path, known in tested.items() if known in known_as]
    for path, _ in found:
        del tested[path]
    copies, finished = _copies(tested, seen, inside)
    return [*found, *copies], finished


def _copies(
    tested: dict[Path, Stamp], seen: dict[Path, Stamp], inside: tuple[Path, ...]
) -> tuple[list[tuple[Path, Path]], bool]:
    shared = {_size(one) for one in seen.values()} & {_size(one) for one in tested.values()} - {0}
    alike: dict[bytes, list[Path]] = defaultdict(list)
    if sum(_size(one) in shared for of in (seen, tested) for one in of.values()) > MOST_COMPARED:
        return [], False
    for path, known in seen.items():
        if _size(known) in shared and (excerpt := _excerpt(path, known, inside)):
            alike[excerpt].append(path)
    found: list[tuple[Path, Path]] = []
    until = time.monotonic() + COMPARE_S
    for path, known in tested.items():
        for other in alike.get(_excerpt(path, known, inside), ()) if _size(known) in shared else ():
            if time.monotonic() > until:
                return found, False
            if _is_same(path, known, other, seen[other], inside):
                found.append((path, other))
                break
    return found, True


def _size(known: Stamp) -> int:
    return known[1]


@lru_cache(maxsize=2 * MOST_COMPARED)
def _excerpt(path: Path, known: Stamp, inside: tuple[Path, ...]) -> bytes:
    """A digest of a few places in a file; empty where it cannot be read. At regular places, slices would begin."""
    found, size = hashlib.blake2b(str(_size(known)).encode()), _size(known)
    try:
        with open_plain(path, inside=inside) as stream:
            for place in sorted(Random(size).choices(range(size), k=EXCERPTS)):
                stream.seek(place)
                found.update(stream.read(EXCERPT_BYTES))
    except OSError:  # the look says why
        return b""
    return found.digest()


@lru_cache(maxsize=MOST_COMPARED)
def _is_same(path: Path, known: Stamp, other: Path, other_known: Stamp, inside: tuple[Path, ...]) -> bool:
    """Whether two files of these stamps have the same content."""
    with suppress(OSError), open_plain(path, inside=inside) as one, open_plain(other, inside=inside) as two:
        while (block := one.read(BLOCK)) == two.read(BLOCK):
            if not block:
                return True
    return False


def is_text(name: str) -> bool:
    """Whether a file name can be written into an answer, which is UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _channel_problems(files: CaseFiles, wanted: set[int], ending: str) -> list[str]:
    colours = one_file_of_colours(ending, len(wanted))
    wrong = {
        case: channels
        for case, channels in files.images.items()
        if channels != wanted and not (colours and channels == {0})
    }
    if not wrong:
        return []
    case, channels = next(iter(sorted(wrong.items())))
    said = (
        f"dataset.json declares the channels {sorted(wanted)}; {numbered(len(wrong), 'case')} not so, for example "
        f"{clean(case)} has [{some(sorted(channels), MOST_CHANNELS)}]."
    )
    if len(files.images) == 1 and len(channels) > len(wanted):
        return [
            f"{said} If these are several patients, their number belongs to the name: "
            f"{clean(case)}_{min(channels):04d}{ending} becomes {clean(case)}_{min(channels):04d}_0000{ending}, with a "
            "label for each."
        ]
    return [f"{said} Add the missing images, or correct channel_names."]


def case_names(files: DatasetFiles, description: Description) -> list[str]:
    """The training cases that have an image and labels, sorted."""
    if description.listed is not None:
        return sorted(description.listed)
    found = list_cases(files.raw, description.file_ending)
    return sorted((set(found.images) | set(found.unnumbered)) & found.labels)


def image_of(files: DatasetFiles, description: Description, case: str) -> Path:
    """The first channel's image.

    Raises:
        NotFound: the raw images are not there.
    """
    listed, _ = listed_names((description.listed or {}).get(case))
    names = [f"{case}_0000", case]
    inside = [files.raw / "imagesTr" / f"{name}{description.file_ending}" for name in names]
    return _first([*(listed_path(files.raw, name) for name in listed[:1]), *inside], files, f"image of case {case}")


def truth_of(files: DatasetFiles, description: Description, case: str) -> Path:
    """The label file that the case was trained on.

    Raises:
        NotFound: they are not there.
    """
    name = f"{case}{description.file_ending}"
    _, listed = listed_names((description.listed or {}).get(case))
    own = [listed_path(files.raw, listed)] if listed else []
    return _first([*own, files.raw / "labelsTr" / name, files.ground_truth / name], files, f"labels of case {case}")


def _first(candidates: list[Path], files: DatasetFiles, what: str) -> Path:
    for path in candidates:
        if path.is_file() and path.name.endswith(CASE_ENDINGS):
            return path
    raise NotFound(f"The {what} is not in {files.raw}. It is needed for this picture: put {candidates[-1].name} back.")


def label_names(description: Description) -> tuple[dict[int, str], int | None]:
    """The name of each label value, and the value that nnU-Net ignores. A region gives its name to all values in it."""
    names: dict[int, list[str]] = {}
    for name, value in description.labels.items():
        for part in value if isinstance(value, list) else [value]:
            names.setdefault(part, []).append(name)
    ignored = description.labels.get("ignore")
    found = {value: ", ".join(given) for value, given in names.items() if value != 0}
    return found, ignored if isinstance(ignored, int) else None

"""The cases that patterns find in a folder: their images, masks, safe names, and every file that is in none."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...allowed_paths import allowed_path
from ...errors import Refused
from ...image_files import Listing, list_files
from ...schemas.datasets import PrepareRequest, SourceFile
from ...settings import Settings
from ...texts import clean, some
from .import_patterns import FIELD, OF_MASKS, Match, image_matches, matches, split_head, unpadded, words_of

# nnU-Net takes a last _0000 for a channel and skips preprocessed files that end in _seg (2.8.1, utilities/utils.py:24,
# training/dataloading/nnunet_dataset.py); the rest is no file name everywhere.
UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f<>:\"|?*$]|^[.\- ]+|[. ]+$")
MISREAD = re.compile(r"_(?:\d{4}|seg)$")
LONGEST = 120  # bytes: nnU-Net appends endings and numbers, a file name may have 255


@dataclass
class Case:
    """A case: an image per channel, and its masks by their label."""

    images: dict[str, SourceFile] = field(default_factory=dict)
    masks: dict[str, SourceFile] = field(default_factory=dict)


@dataclass
class Gathered:
    """All cases by their safe name, and what patterns left over."""

    cases: dict[str, Case] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # safe name -> name in the source
    channels: list[str] = field(default_factory=lambda: [""])  # what stands for {channel}, in order
    channel_names: list[str] = field(default_factory=list)  # empty: what the images hold decides
    labels: dict[str, str] = field(default_factory=dict)  # what stands for {label} -> label name
    left_over: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def training(self) -> dict[str, Case]:
        return {name: case for name, case in self.cases.items() if case.masks}


def read_source(request: PrepareRequest, source: Path, settings: Settings) -> tuple[Listing, str, str]:
    """The files below the source, and below another folder of masks; and the patterns of the masks and that folder."""
    listing = list_files(source, settings)
    if not request.labels:
        return listing, "", ""
    folder, below = split_head(request.labels, settings, "labels")
    if folder is None or folder.is_relative_to(source):
        inside = f"{folder.relative_to(source)}/" if folder is not None and folder != source else ""
        return listing, f"{inside}{below}", ""
    if not folder.is_dir():
        raise Refused(f"labels {clean(request.labels)!r}: {folder} is no folder.")
    other = list_files(folder, settings, f"{folder}/")
    return (
        Listing({**listing.files, **other.files}, {**listing.others, **other.others}),
        f"{folder}/{below}" if below else "",
        str(folder),
    )


def pairs_of(entries: Iterable[str]) -> dict[str, str]:
    """ "t1=T1" as {"t1": "T1"}, "T1" as {"T1": "T1"}, in order.

    Raises:
        Refused: one is empty or is there twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        key, equals, name = (
            (part.strip() for part in entry.rpartition("=")) if "=" in entry else (entry.strip(), "", "")
        )
        name = name if equals else key
        if not key or not name or key in found:
            raise Refused(f"{clean(entry)!r} must be NAME or TOKEN=NAME, each once.")
        found[key] = name
    return found


def gather(request: PrepareRequest, listing: Listing, labels: str, settings: Settings) -> Gathered:
    """Sort the files into cases.

    Raises:
        Refused: a pattern cannot be used, or fits no file.
    """
    found = Gathered()
    raw: dict[str, Case] = defaultdict(Case)
    images, masks = _images(request, listing, settings, found), _masks(request, listing, labels)
    images, masks = _apart(request, labels, images, masks)
    _name(request, labels, images, masks, found)
    for hits, mask in ((images, False), (masks, True)):
        for hit in hits:
            _add(raw[hit.case].masks if mask else raw[hit.case].images, hit, listing, found, mask=mask)
    raw = raw if any(case.images and case.masks for case in raw.values()) else _by_number(raw)
    used = {hit.name for hit in (*images, *masks)}
    left_out = {unicodedata.normalize("NFC", name) for name in request.leave_out}
    if unknown := sorted(left_out - set(raw)):
        raise Refused(f"leave_out names cases that are not there: {some(unknown)}. Cases: {some(sorted(raw))}.")
    found.left_over |= {name: "no pattern fits" for name in listing.files if name not in used}
    found.left_over |= listing.others
    named = any(words_of(name) & OF_MASKS for name, case in raw.items() if case.images and case.masks)
    for name in sorted(raw):
        case = raw[name]
        if name in left_out:
            found.left_over |= {
                file.name: "as leave_out says" for file in (*case.images.values(), *case.masks.values())
            }
        elif not case.images:
            found.left_over |= {file.name: "a mask without image" for file in case.masks.values()}
        elif not case.masks and words_of(name) & OF_MASKS and not named:
            found.left_over |= {file.name: "named as a mask" for file in case.images.values()}
        else:
            found.cases[name] = case
    _rename(found)
    _check(found)
    return found


def _by_number(raw: dict[str, Case]) -> dict[str, Case]:
    """The cases with image-1 and mask_001 joined, under the images' names; as they are if it is not clear."""
    images = {unpadded(name): name for name, case in raw.items() if case.images}
    masks = {unpadded(name): name for name, case in raw.items() if case.masks}
    if len(images) + len(masks) < len(raw) or not set(images) & set(masks):
        return raw
    joined = {name: raw[name] for number, name in masks.items() if number not in images}
    for number, name in images.items():
        joined[name] = Case(raw[name].images, raw[masks[number]].masks if number in masks else {})
    return joined


def _images(request: PrepareRequest, listing: Listing, settings: Settings, found: Gathered) -> list[Match]:
    given = pairs_of(request.channels)
    patterns = [_inside(pattern, request, settings) for pattern in request.images]
    if len(patterns) > 1:
        if any("{channel}" in pattern for pattern in patterns) or len(given) not in (0, len(patterns)):
            raise Refused("images with several patterns needs one for each of channels, without {channel}.")
        found.channels = list(given.values()) or [f"channel_{number}" for number in range(len(patterns))]
        hits = [
            replace(match, token=name)
            for pattern, name in zip(patterns, found.channels, strict=True)
            for match in image_matches(pattern, listing.files)
        ]
    else:
        hits = image_matches(patterns[0], listing.files, tuple(given) if "{channel}" in patterns[0] else ())
    if not hits:
        said = f" with the channels {some(list(given))}" if given and "{channel}" in patterns[0] else ""
        raise Refused(
            f"images {some(request.images)}{said} fits none of {len(listing.files)} images. The first are "
            f"{some(sorted(listing.files))}."
        )
    return hits


def _inside(pattern: str, request: PrepareRequest, settings: Settings) -> str:
    """The pattern below source, which may have been given as an absolute path."""
    folder, below = split_head(pattern, settings, "images")
    if folder is None:
        return below
    source = allowed_path(settings, request.source, what="source")
    if not folder.is_relative_to(source):
        raise Refused(f"images {clean(pattern)!r} must lie in source. Name a folder that holds them as source.")
    return f"{folder.relative_to(source)}/{below}" if folder != source else below


def _masks(request: PrepareRequest, listing: Listing, pattern: str) -> list[Match]:
    tokens = tuple(pairs_of(request.label_names)) if "{label}" in pattern else ()
    hits = matches(pattern, listing.files, "labels", tokens)
    if not hits:
        raise Refused(f"labels {clean(pattern)!r} fits no file. The first are {some(sorted(listing.files))}.")
    return hits


def _apart(
    request: PrepareRequest, labels: str, images: list[Match], masks: list[Match]
) -> tuple[list[Match], list[Match]]:
    """A file that both patterns fit belongs to the one that says more of its name."""
    both = {hit.name for hit in images} & {hit.name for hit in masks}
    of_images, of_masks = max(map(_says, request.images)), _says(labels)
    if both and of_images == of_masks:
        raise Refused(f"{some(sorted(both))} fits both images and labels. Write more of the names into the patterns.")
    if of_images < of_masks:
        return [hit for hit in images if hit.name not in both], masks
    return images, [hit for hit in masks if hit.name not in both]


def _says(pattern: str) -> tuple[int, int]:
    """How much a pattern says: few fields, much text."""
    pieces = FIELD.split(pattern.rpartition("/")[2])
    return -len(set(pieces[1::2])), len("".join(pieces[::2]))


def _name(request: PrepareRequest, labels: str, images: list[Match], masks: list[Match], found: Gathered) -> None:
    given = pairs_of(request.channels)
    found.channel_names = list(given.values())
    if any("{channel}" in pattern for pattern in request.images):
        named = _named(images, given, "channels")
        found.channels, found.channel_names = list(named), list(named.values())
    elif len(request.images) > 1:
        found.channel_names = found.channels
    if "{label}" in labels:
        found.labels = _named(masks, pairs_of(request.label_names), "label_names")


def _named(hits: list[Match], given: dict[str, str], what: str) -> dict[str, str]:
    """The names of what was found, in the order given."""
    tokens = sorted({hit.token for hit in hits}, key=natural)
    if missing := sorted(set(given) - set(tokens)):
        raise Refused(f"{what}: there is no file for {some(missing)}. Found: {some(tokens)}.")
    return given or {token: channel_name(token) for token in tokens}


def channel_name(token: str) -> str:
    """A name for what stands for {channel}: a number alone says nothing."""
    return f"channel_{int(token)}" if token.isdecimal() else token


def natural(text: str) -> list[tuple[int, str]]:
    """For sorting: numbers by their size."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _add(files: dict[str, SourceFile], hit: Match, listing: Listing, found: Gathered, *, mask: bool) -> None:
    if hit.token in files:
        twice = f"{clean(files[hit.token].name)} and {clean(hit.name)}"
        found.problems.append(f"{twice} are the same {'mask' if mask else 'image'} of case {clean(hit.case)}.")
    file = listing.files[hit.name]
    chosen = {"series": hit.series, "name": f"{file.name}#{hit.series}"} if hit.series else {}
    files[hit.token] = file.model_copy(update={"mask": mask, **chosen})


def _rename(found: Gathered) -> None:
    """Give each case a name that nnU-Net and file systems take; most keep their own."""
    shorter = Counter(name.rpartition("/")[2] for name in found.cases)
    cases, found.cases = found.cases, {}
    taken: set[str] = set()
    for name, case in cases.items():
        alone = name.rpartition("/")[2]
        safe = UNSAFE.sub("_", alone if shorter[alone] == 1 else name)
        safe = f"{safe}_case" if MISREAD.search(safe) else safe
        safe = safe.encode()[:LONGEST].decode(errors="ignore") or "case"
        free, number = safe, 2
        while free.casefold() in taken:
            free, number = f"{safe}-{number}", number + 1
        taken.add(free.casefold())
        found.cases[free], found.names[free] = case, name


def _check(found: Gathered) -> None:
    wanted = set(found.channels)
    short = {name: sorted(wanted - set(case.images)) for name, case in found.cases.items()}
    if lacking := [found.names[name] for name, missing in short.items() if missing]:
        missing = sorted({token for tokens in short.values() for token in tokens})
        found.problems.append(f"{len(lacking)} cases lack an image ({some(missing)}): {some(lacking)}.")
    if not found.training:
        found.problems.append("no case has an image and a mask: the patterns give them different names.")

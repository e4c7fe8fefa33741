"""Which images a prediction takes: those named as nnU-Net names them, or any images under the names that they have."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...allowed_paths import allowed_path, readable_file
from ...calls import argument
from ...errors import NotFound, Refused
from ...image_files import PICTURES, TIFF, ending_of, is_series, list_files
from ...nnunet.predictions import TrainedOn, cases_to_predict, is_numbered
from ...settings import Settings
from ...texts import clean, some
from ..data.import_patterns import OF_MASKS, image_matches, split_head, words_of

OWN_FOLDERS = ("imagesTs", "imagesTr", "labelsTr", "labelsTs")
LONGEST = 255  # bytes of a file name


@dataclass
class Chosen:
    """The folder of the images, what was asked for as it is recorded, and the cases."""

    folder: Path
    asked: str
    cases: Mapping[str, Sequence[object]] = field(default_factory=dict)
    originals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    series: str = ""  # of several DICOM series in a folder, the one that the pattern names
    left_over: dict[str, str] = field(default_factory=dict)

    def first_file(self, case: str) -> Path:
        """The image of its first channel; of a DICOM series, which is many files, a path that does not exist."""
        return self.folder / str(self.cases[case][0])

    def notes(self) -> tuple[str, ...]:
        """Every file that is not predicted, with the reason."""
        reasons: dict[str, list[str]] = defaultdict(list)
        for name, why in self.left_over.items():
            reasons[why].append(name)
        return tuple(f"Not predicted, {why}: {some(sorted(names))}." for why, names in reasons.items())


def choose_images(given: str, raw: Path, trained: TrainedOn, settings: Settings) -> Chosen:
    """The cases to predict in a folder, or of a pattern below one.

    Raises:
        NotFound, Refused: there are none, they are not whole, or it is not clear which they are.
    """
    folder, pattern = _place(given, raw, settings)
    if not pattern and (given in OWN_FOLDERS or is_numbered(folder, trained)):
        return _numbered(folder, trained, settings)
    listing = list_files(folder, settings)
    chosen = Chosen(folder, f"{folder}/{pattern}" if pattern else str(folder), left_over=dict(listing.others))
    fitting = [name for name in listing.files if _fits(name, trained, chosen)]
    found = _by_pattern(pattern, fitting, trained, chosen) if pattern else _by_name(fitting, trained, chosen)
    for case in [case for case in found if len(f"{case}_0000{trained.ending}".encode()) > LONGEST]:
        chosen.left_over |= dict.fromkeys(found.pop(case), "its name is too long")
    if not found:
        raise Refused(_nothing(chosen, trained))
    chosen.cases = chosen.originals = {case: found[case] for case in sorted(found)}
    return chosen


def folder_of(given: str, raw: Path, settings: Settings, *, what: str) -> Path:
    """A folder that tools may read, or one of the dataset by its name.

    Raises:
        NotFound, Refused: it is none.
    """
    path = raw / given if given in OWN_FOLDERS else allowed_path(settings, given, what=what)
    if not path.is_dir():
        raise NotFound(f"{path} is not a folder. {what} is a folder, or imagesTs, imagesTr or labelsTr of the dataset.")
    return Path(os.path.realpath(path))


def _place(given: str, raw: Path, settings: Settings) -> tuple[Path, str]:
    if "{case}" not in given or Path(given).is_dir():
        return folder_of(given, raw, settings, what="images"), ""
    folder, pattern = split_head(given, settings, "images")
    if folder is None or not folder.is_dir():
        raise Refused(f"images {clean(given)!r} must be a folder and a pattern, like /data/{{case}}/ct.nii.gz.")
    return folder, pattern


def _numbered(folder: Path, trained: TrainedOn, settings: Settings) -> Chosen:
    cases = cases_to_predict(folder, trained)
    used = {path.name for paths in cases.values() for path in paths}
    for paths in cases.values():
        for path in paths:
            readable_file(path, settings)
    why = f"not named CASE_0000{trained.ending}"
    others = (path for path in folder.iterdir() if path.name not in used and path.name[0] != ".")
    beside = (".json",) if trained.ending in TIFF else ()
    return Chosen(folder, str(folder), cases, left_over={p.name: why for p in others if p.suffix not in beside})


def _fits(name: str, trained: TrainedOn, chosen: Chosen) -> bool:
    """Whether the model's format can hold the image; a stack of TIFF slices may be a volume or a picture."""
    ending = ending_of(name).lower()
    picture, pictures = ending in PICTURES, trained.ending in PICTURES
    if trained.ending in TIFF or (trained.ending == ".bmp" and ending != ".bmp"):
        chosen.left_over[name] = f"the model takes CASE_0000{trained.ending}"
    elif picture != pictures and ending not in TIFF:
        chosen.left_over[name] = "a picture; the model takes volumes" if picture else "the model takes pictures"
    return name not in chosen.left_over


def _by_pattern(pattern: str, names: list[str], trained: TrainedOn, chosen: Chosen) -> dict[str, list[str]]:
    hits = image_matches(pattern, names)
    chosen.series = hits[0].series if hits else ""
    each = "{channel}" in pattern
    order = _order({hit.token for hit in hits}, trained) if each and hits else [""]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for hit in hits:
        case = hit.case.replace("/", "_")
        if hit.token in found[case]:
            raise Refused(f"{some([found[case][hit.token], hit.name])} are both case {clean(case)}. Write more of the "
                          "names into the pattern.")  # fmt: skip
        found[case][hit.token] = hit.name
    used = {hit.name for hit in hits}
    chosen.left_over |= {name: "the pattern does not fit" for name in names if name not in used}
    if lacking := sorted(case for case, images in found.items() if set(images) != set(order)):
        raise Refused(f"The model takes {some(trained.channels, 9)}. Cases that lack one: {some(lacking)}.")
    return {case: [images[token] for token in order] for case, images in found.items()}


def _order(tokens: set[str], trained: TrainedOn) -> list[str]:
    """What stands for {channel}, in the order of the model's channels: their names, or their numbers."""
    named = {token.casefold(): token for token in tokens}
    wanted = [channel.casefold() for channel in trained.channels]
    if set(named) == set(wanted):
        return [named[channel] for channel in wanted]
    if all(map(str.isdecimal, tokens)) and len(tokens) == len(wanted):
        return sorted(tokens, key=int)
    raise Refused(
        f"{{channel}} stands for {some(sorted(tokens), 9)}; the model takes {some(trained.channels, 9)}. "
        "Name the files after the channels."
    )


def _by_name(names: list[str], trained: TrainedOn, chosen: Chosen) -> dict[str, list[str]]:
    """Every image in the folder itself, and every DICOM series below it."""
    if len(trained.channels) > 1 and trained.ending not in PICTURES:
        example = argument(images=f"{chosen.folder}/{{case}}_{{channel}}.nii.gz")
        raise Refused(
            f"The model takes {len(trained.channels)} channels, {some(trained.channels, 9)}: CASE_0000{trained.ending} "
            f"and so on, or say which file is which, like {example}."
        )
    chosen.left_over |= dict.fromkeys(_masks(names), "named as a mask")
    tops = Counter(name.split("/")[0] for name in names if is_series(name))
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if name in chosen.left_over:
            continue
        head, _, last = name.rpartition("/")
        if is_series(name):
            top = head.split("/")[0]
            case = (top if tops[top] == 1 else head.replace("/", "_")) or chosen.folder.name
        elif head:
            chosen.left_over[name] = "it lies in a folder below; a pattern like …/{case}/ct.nii.gz would name it"
            continue
        else:
            case = last.removesuffix(ending_of(last))
        found[case].append(name)
    if doubled := sorted(case for case, images in found.items() if len(images) > 1):
        raise Refused(f"Several images would be {some(doubled)}. Say which with a pattern, {argument(images=None)}.")
    return found


def _masks(names: Iterable[str]) -> set[str]:
    """Images that are called masks, if others are not."""
    masks = {name for name in names if words_of(name.rpartition("/")[2]) & OF_MASKS}
    return masks if len(masks) < len(set(names)) else set()


def _nothing(chosen: Chosen, trained: TrainedOn) -> str:
    has = " ".join(chosen.notes()) or "It is empty."
    return (
        f"{chosen.asked} has no images named CASE_0000{trained.ending}, as the model needs them, and none that can be "
        f"converted. {has}"
    )

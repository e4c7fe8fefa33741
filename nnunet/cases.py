"""The training cases of a dataset folder: their files, and what is wrong with them. No image is opened."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import NotFound
from ..texts import clean, some, told
from .dataset_json import Description
from .datasets import CASE_ENDINGS, DatasetFiles, channel_of, listed_names, listed_path, one_file_of_colours

TIFF = (".tif", ".tiff")
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
        return [f"imagesTr has no {ending} files. Put the training images there as CASE_0000{ending}."]
    problems = _hidden_problems(folder / "imagesTr", ending)
    if files.unnumbered:
        problems.append(
            f"images without a channel number (CASE_0000{ending}): {some(files.unnumbered)}. Import the folder "
            f"under a free id, or rename them: {clean(files.unnumbered[0])}{ending} becomes "
            f"{clean(files.unnumbered[0])}_0000{ending}."
        )
    problems += _channel_problems(files, set(range(len(description.channels))), ending)
    if missing := sorted(set(files.images) - files.labels):
        problems.append(f"no label file in labelsTr for: {some(missing)}. Add CASE{ending}, or remove the images.")
    if extra := sorted(files.labels - set(files.images) - set(files.unnumbered)):
        problems.append(f"no image in imagesTr for the labels: {some(extra)}. Add the images, or remove the labels.")
    if unspoken := sorted(name for name in {*files.images, *files.labels} if not is_text(name)):
        problems.append(f"file names that are no valid UTF-8: {some(unspoken)}. Rename them.")
    return problems


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
    """Files beside the cases that nnU-Net does not read."""
    ending = description.file_ending
    kept = (ending, ".json") if ending in TIFF else (ending,)
    extra = [
        f"{name}/{path.name}"
        for name in ("imagesTr", "labelsTr")
        if (folder / name).is_dir() and description.listed is None
        for path in sorted((folder / name).iterdir())
        if not path.name.endswith(kept) and not path.name.startswith(".")
    ]
    if not extra:
        return []
    return [f"files that nnU-Net ignores, because they do not end in {ending}: {some(extra)}. Convert or remove them."]


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
    return [
        f"dataset.json declares the channels {sorted(wanted)}; {len(wrong)} cases have others, for example "
        f"{clean(case)} has {sorted(channels)}. Add the missing images, or correct channel_names."
    ]


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

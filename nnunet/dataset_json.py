"""dataset.json: read the styles people have and write the one nnU-Net v2 reads.

Sources: nnunetv2 2.8.1, documentation/dataset_format.md, experiment_planning/verify_dataset_integrity.py and, for what
it demands of labels, utilities/label_handling/label_handling.py:21-120;
the user's documentation ("modality", labels {"0": "background"}).
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import NotFound, Refused
from ..files import DESCRIPTION_BYTES, read_plain
from ..texts import SAID_LENGTH, clean, some
from .datasets import CASE_ENDINGS, listed_names

EXAMPLE = (
    'Write {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"} for '
    "images imagesTr/CASE_0000.nii.gz and labels labelsTr/CASE.nii.gz; "
    '"dataset": {"CASE": {"images": ["…"], "label": "…"}} lists files that lie elsewhere.'
)
NO_ORDER = "No order can tell these regions apart: declare them so that each lies in the one before or outside it."
BYTE_ORDER_MARK = "\ufeff"
Labels = dict[str, int | list[int]]
Regions = Mapping[str, Sequence[int]]
Thing = TypeVar("Thing", bound=Hashable)


@dataclass
class Description:
    """A dataset.json in nnU-Net v2's terms, and how it differs from the file it was read from."""

    content: dict[str, Any]
    changes: list[str] = field(default_factory=list)

    @property
    def channels(self) -> list[str]:
        names: dict[str, str] = self.content["channel_names"]
        return [str(names[key]) for key in sorted(names, key=int)]

    @property
    def labels(self) -> Labels:
        found: Labels = self.content["labels"]
        return found

    @property
    def listed(self) -> dict[str, object] | None:
        """The files of each case, where dataset.json names them itself."""
        found: dict[str, object] | None = self.content.get("dataset")
        return found

    @property
    def file_ending(self) -> str:
        return str(self.content["file_ending"])


def read_description(folder: Path) -> Description:
    """Read folder/dataset.json and bring it into nnU-Net v2's form; the file stays as it is.

    Raises:
        NotFound: there is no dataset.json.
        Refused: it is not JSON, or something essential is missing; the message names the key.
    """
    path = folder / "dataset.json"
    try:
        text = read_plain(path, most=DESCRIPTION_BYTES).decode()
        raw = json.loads(text.removeprefix(BYTE_ORDER_MARK), object_pairs_hook=partial(_once, path))
    except FileNotFoundError:
        raise NotFound(
            f"{path} does not exist. A dataset needs dataset.json, imagesTr and labelsTr. {EXAMPLE}"
        ) from None
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}). It must be a file that you may read.") from None
    except RecursionError:
        raise Refused(f"{path} is nested too deeply. Correct it, then try again.") from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise Refused(f"{path} is not valid JSON ({error}). Correct it, then try again.") from None
    if not isinstance(raw, dict):
        raise Refused(f"{path} must hold a JSON object with channel_names, labels and file_ending.")
    description = Description(dict(raw))
    if text.startswith(BYTE_ORDER_MARK):
        description.changes.append("the byte order mark was removed")
    _list(description)
    _channels(description, path)
    _labels(description, path)
    _file_ending(description, folder)
    _count(description, folder)
    return description


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of a key that occurs twice, readers keep only the last value."""
    if double := _doubles(key for key, _ in pairs):
        raise Refused(f"{path} has {some(double)} twice in the same place. Keep one, or give the other its own name.")
    return dict(pairs)


def _list(description: Description) -> None:
    if not isinstance(description.content.get("dataset", {}), dict):
        del description.content["dataset"]
        description.changes.append("dataset, which is no list of cases, was left out")


def _channels(description: Description, path: Path) -> None:
    content = description.content
    if "channel_names" not in content and "modality" in content:
        content["channel_names"] = content.pop("modality")
        description.changes.append("modality is now called channel_names")
    names = content.get("channel_names")
    if not isinstance(names, dict) or not names or not all(str(key).isdecimal() for key in names):
        raise Refused(f'{path} needs channel_names like {{"0": "MRI"}}; it has {_shown(names)}.')
    if sorted(map(int, names)) != list(range(len(names))):
        raise Refused(
            f"{path}: the keys of channel_names must be 0, 1, 2, … without gaps; they are {_shown(list(names))}."
        )
    content["channel_names"] = {str(key): str(value) for key, value in names.items()}


def _labels(description: Description, path: Path) -> None:
    labels = description.content.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise Refused(f'{path} needs labels like {{"background": 0, "tumour": 1}}; it has {_shown(labels)}.')
    if all(str(key).isdecimal() for key in labels) and all(isinstance(v, str) for v in labels.values()):
        if double := _doubles(list(labels.values())):
            raise Refused(f"{path}: two labels have the same name, {some(double)}. Name each label once.")
        labels = {name: int(value) for value, name in labels.items()}
        description.changes.append("labels are now name: value")
    converted = {str(name): _label_value(value, name, path) for name, value in labels.items()}
    if converted != labels:
        description.changes.append("label values are now numbers")
    _background(description, converted, path)
    _refuse_bad_labels(description.content, path)


def _background(description: Description, labels: Labels, path: Path) -> None:
    """nnU-Net wants a label called background with the value 0 (label_handling.py:50)."""
    if labels.get("background") == [0]:
        labels = {**labels, "background": 0}
        description.changes.append("background is now 0 and no list")
    zero = next((name for name, value in labels.items() if value == 0), None)
    if "background" in labels and zero != "background":
        raise Refused(
            f"{path}: background has the value {_shown(labels['background'])}; it must be 0. Give it the 0, or another "
            "name."
        )
    if zero is None:
        labels = {"background": 0, **labels}
        description.changes.append("background: 0 was added to the labels")
    elif zero != "background":
        labels = {("background" if name == zero else name): value for name, value in labels.items()}
        description.changes.append(f"label 0 ({clean(zero)}) is now called background")
    description.content["labels"] = labels


def _label_value(value: Any, name: object, path: Path) -> int | list[int]:
    try:
        if isinstance(value, list | tuple):
            return [_whole(part) for part in value]
        return _whole(value)
    except (TypeError, ValueError, OverflowError):
        said = f"label {_shown(name)} has the value {_shown(value)}"
        raise Refused(f"{path}: {said}; it must be a whole number.") from None


def _whole(value: Any) -> int:
    number = int(value)
    if number != float(value):
        raise ValueError(f"{value} is not whole")
    return number


def _shown(value: object) -> str:
    return clean(repr(value), SAID_LENGTH)


def _file_ending(description: Description, folder: Path) -> None:
    content = description.content
    ending = content.get("file_ending")
    if isinstance(ending, str) and f".{ending}".lower() in CASE_ENDINGS:
        content["file_ending"] = f".{ending}"
        description.changes.append(f"file_ending is now .{ending}")
    elif ending and str(ending).lower() not in CASE_ENDINGS and not content.get("overwrite_image_reader_writer"):
        raise Refused(
            f"{folder / 'dataset.json'}: nnU-Net reads no images with the file_ending {_shown(ending)}, only "
            f"{', '.join(CASE_ENDINGS)}. Correct it, or convert the images."
        )
    if not content.get("file_ending"):
        content["file_ending"] = _found_ending(folder, description.listed)
        description.changes.append(f"file_ending {content['file_ending']} was added")


def _found_ending(folder: Path, listed: dict[str, object] | None) -> str:
    images = sorted((folder / "imagesTr").glob("[!.]*")) if (folder / "imagesTr").is_dir() else []
    names = [path.name for path in images]
    if listed is not None:
        names = [name for entry in listed.values() for name in listed_names(entry)[0]]
    for ending in CASE_ENDINGS:
        if any(name.endswith(ending) for name in names):
            return ending
    raise Refused(f"{folder / 'imagesTr'} has no images ({', '.join(CASE_ENDINGS)}). Put the training images there.")


def _count(description: Description, folder: Path) -> None:
    if description.listed is not None:
        found, where = len(description.listed), "listed"
    else:
        labels = folder / "labelsTr"
        found = len(list(labels.glob(f"[!.]*{description.file_ending}"))) if labels.is_dir() else 0
        where = "counted in labelsTr"
    if description.content.get("numTraining") != found:
        description.changes.append(f"numTraining is {found}, as {where}")
        description.content["numTraining"] = found


def _refuse_bad_labels(content: dict[str, Any], path: Path) -> None:
    """Check what would end a training at its start: the values of labels, the background, the order of regions.

    Raises:
        Refused: nnU-Net would not take them; the message says which.
    """
    labels: Labels = content["labels"]
    values = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    flat = sorted({part for value in values.values() for part in value})
    if empty := [name for name, value in values.items() if not value]:
        raise Refused(f"{path}: labels without a value: {some(empty)}. Give each its own.")
    if flat != list(range(len(flat))):
        raise Refused(
            f"{path}: label values must be 0, 1, 2, … without gaps; they are {clean(flat)}. Renumber them here and in "
            "the label files."
        )
    if double := _doubles(value for value in labels.values() if isinstance(value, int)):
        names = [name for name, value in labels.items() if value == double[0]]
        raise Refused(f"{path}: two labels have the same value {double[0]}: {some(names)}. Give each label its own.")
    _refuse_bad_ignore(labels, flat[-1], path)
    if len(flat) - ("ignore" in labels) < 2:
        raise Refused(f"{path} declares only the background. Add at least one label to segment.")
    if any(len(value) > 1 for value in values.values()):
        _refuse_bad_order(content.get("regions_class_order"), values, path)


def _refuse_bad_ignore(labels: Labels, highest: int, path: Path) -> None:
    if labels.get("ignore", highest) != highest:
        raise Refused(
            f"{path}: ignore has the value {clean(labels['ignore'])}; it must be the highest, {highest}. Renumber the "
            "labels here and in the label files."
        )


def _refuse_bad_order(order: object, values: dict[str, list[int]], path: Path) -> None:
    regions = [name for name, value in values.items() if name != "ignore" and set(value) != {0}]
    if not isinstance(order, list) or len(order) != len(regions) or not all(isinstance(part, int) for part in order):
        raise Refused(
            f"{path} declares regions, so it needs regions_class_order: the {len(regions)} values that are written for "
            f"{some(regions)}, the enclosing regions first; it has {clean(repr(order))}."
        )


def _doubles(things: Iterable[Thing]) -> list[Thing]:
    """Those that occur more than once."""
    return [thing for thing, count in Counter(things).items() if count > 1]


@dataclass(frozen=True)
class RegionFault:
    """Regions with which a perfect model would score less than 1, with the scores; and an order that works, if any."""

    told: str
    has_remedy: bool


def region_fault(description: Description) -> RegionFault | None:
    """What is wrong with the order of regions.

    nnU-Net paints the regions in the order in which labels names them, each with its value of regions_class_order
    (2.8.1, label_handling.py:171), so the last region that holds a value decides what is written for it.
    """
    order = description.content.get("regions_class_order")
    regions = {
        name: value if isinstance(value, list) else [value]
        for name, value in description.labels.items()
        if name not in ("background", "ignore") and value not in ([0], 0)
    }
    if not isinstance(order, list) or all(len(values) == 1 for values in regions.values()):
        return None
    wrong = {value: written for value, written in _written(regions, order).items() if _differ(regions, value, written)}
    if not wrong:
        return None
    became = some([f"{value} is written as {written}" for value, written in sorted(wrong.items())])
    remedy = _remedy(regions)
    return RegionFault(
        f"regions_class_order {clean(order)} writes values of other regions: {became}. A perfect model would score "
        f"{_scores(regions, order)}. {remedy or NO_ORDER}",
        has_remedy=bool(remedy),
    )


def _written(regions: Regions, order: Sequence[int]) -> dict[int, int]:
    """The value that is written for each declared value by a perfect model."""
    return {value: new for values, new in zip(regions.values(), order, strict=False) for value in values}


def _differ(regions: Regions, one: int, other: int) -> bool:
    return any((one in values) != (other in values) for values in regions.values())


def _scores(regions: Regions, order: Sequence[int]) -> str:
    """The regions whose Dice cannot be 1."""
    written = _written(regions, order)
    scores = []
    for name, values in regions.items():
        found = {value for value, new in written.items() if new in values}
        if found != set(values):
            scores.append(f"{clean(name)} {'below 1' if found & set(values) else '0'}")
    return some(scores)


def _remedy(regions: Regions) -> str:
    ordered = _workable(regions)
    if not ordered:
        return ""
    first = (
        f"Name the labels in the order {', '.join(map(clean, ordered))}, and set"
        if list(ordered) != list(regions)
        else "Set"
    )
    return f"{first} regions_class_order to {_order(ordered)}."


def _workable(regions: Regions) -> Regions:
    """The regions in an order of painting that works, the given one if it does; empty where there is none.

    It is found from the end: what the last region paints must lie in the same regions, and so on with the rest.
    """
    left, found = dict(regions), dict[str, Sequence[int]]()
    while left:
        painted = {value for values in found.values() for value in values}
        fit = next((name for name in reversed(left) if _are_alike(regions, set(left[name]) - painted)), None)
        if fit is None:
            return {}
        found = {fit: left.pop(fit), **found}
    return found


def _are_alike(regions: Regions, values: set[int]) -> bool:
    return all(len(values & set(own)) in (0, len(values)) for own in regions.values())


def _order(regions: Regions) -> list[int]:
    """For each region a value that no later region holds."""
    found = []
    for number, values in enumerate(regions.values()):
        later = {value for after in list(regions.values())[number + 1 :] for value in after}
        found.append(next((value for value in values if value not in later), values[0]))
    return found

"""What is wrong with a dataset's images: problems that break or falsify a training, and warnings, each with its fix."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from ...calls import argument, call
from ...nnunet.dataset_json import Description
from ...schemas.datasets import CaseLook, FileLook, LabelLook, Reader
from ...texts import clean, some, told
from .case_checks import Expected, Kind, check_case, spacing
from .looks import Looks
from .value_checks import FEWEST_TO_COMPARE, value_warnings

OF_VALUES = {Kind.UNDECLARED, Kind.FRACTIONS, Kind.OTHER_NUMBER, Kind.SHADES, Kind.NUMBERED}
MOST_PROBLEMS = 2800  # characters
MOST_WARNINGS = 1500
RARE_CASES = 5
MANY_CASES = 10
FACTOR = 5.0
LEAST_MM, MOST_MM = 0.01, 30.0
THICK = 1.5  # times the next longest: slices are seen to be thicker than pixels are long
# Of the voxels: a label that covers more than half where it usually covers less than a quarter may be inverted.
MOST, USUAL = 0.5, 0.25
FEWEST_SLICES = 4
REORIENTING = "WithReorient"
EQUAL = " = "
LEFT = re.compile(r"(?:^|[^a-z])(?:left|l|lt|lh|sin|sinistr\w*|links\w*|gauche|izquierd\w*)(?:$|[^a-z])")
RIGHT = re.compile(r"(?:^|[^a-z])(?:right|r|rt|rh|dex|dext\w*|rechts\w*|droite?|derech\w*)(?:$|[^a-z])")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Findings:
    """Sentences. `breaks` are the problems that end a training whose data are verified."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    breaks: tuple[str, ...]


def findings(looks: Looks, description: Description) -> Findings:
    """Everything that the looks show, the worst first."""
    expected = Expected.of(description, looks.reader)
    grouped: dict[Kind, list[tuple[str, str]]] = defaultdict(list)
    for name, look in sorted(looks.found.items()):
        for kind, detail in check_case(look, expected):
            grouped[kind].append((name, detail))
    if len(grouped[Kind.NO_SPACING]) in (0, len(looks.found)):  # microscopy without units is meant
        del grouped[Kind.NO_SPACING]
    if Kind.NUMBERED in grouped:  # some cases have numbers with gaps, or a single one
        for kind in (Kind.UNDECLARED, Kind.OTHER_NUMBER):
            grouped[Kind.NUMBERED] = sorted(grouped[Kind.NUMBERED] + grouped.pop(kind, []))
    whole = list(_about_all(looks, description, counted=not OF_VALUES & set(grouped)))
    useless = [text for certain, text in whole if certain]
    if useless:
        grouped.pop(Kind.NO_FOREGROUND, None)  # about all cases together
    breaks, falsifies, odd = (
        [_sentence(kind, grouped[kind]) for kind in Kind if kind in grouped and kind.weight == weight]
        for weight in ("breaks", "falsifies", "odd")
    )
    return Findings(
        problems=bounded(breaks + falsifies + useless, MOST_PROBLEMS),
        warnings=bounded(odd + [text for certain, text in whole if not certain], MOST_WARNINGS),
        breaks=tuple(breaks),
    )


def bounded(sentences: list[str], characters: int) -> tuple[str, ...]:
    """The sentences, cut to as many as a reader can act on."""
    lengths = accumulate(map(len, sentences))
    kept = max(1, sum(length <= characters for length in lengths))
    left = len(sentences) - kept
    return (*sentences[:kept], f"… and {left} more; solve these first.") if left > 0 else tuple(sentences)


def _sentence(kind: Kind, cases: list[tuple[str, str]]) -> str:
    count = f"{len(cases)} cases: " if len(cases) > 1 else ""
    return f"{kind.words}: {count}{told(cases)}. {kind.fix}"


def _about_all(looks: Looks, description: Description, *, counted: bool) -> Iterator[tuple[bool, str]]:
    """What only all cases together show; True marks what certainly makes a training useless."""
    cases = looks.found
    if looks.complete and counted:
        yield from _presence(cases, description)
    odd = [*_duplicates(cases), *value_warnings(cases, description), *_drawn_otherwise(cases)]
    if looks.reader in ("simpleitk", "nibabel"):
        odd += [*_odd_spacings(cases), *_lost_headers(cases)]
        if REORIENTING not in str(description.content.get("overwrite_image_reader_writer")):
            odd += list(_orientations(cases, looks.reader)) or list(_thick_slices(cases))
    odd += _left_and_right(description)
    yield from ((False, text) for text in odd)


def _presence(cases: dict[str, CaseLook], description: Description) -> Iterator[tuple[bool, str]]:
    labels = [look.label for look in cases.values() if look.label is not None and not look.label.error]
    if not labels:
        return
    present = {value for label in labels for value, count in label.values.items() if count}
    if present <= {0}:
        yield True, "no label file has anything but background, so there is nothing to learn. Check labelsTr."
        return
    if len(present) == 1:
        yield True, "every voxel of every label file has the same value, so there is nothing to learn. Check labelsTr."
        return
    counts = label_cases(labels, description)
    if absent := [name for name, count in counts.items() if not count]:
        text = f"labels that occur in no case: {some(absent)}. Remove them from dataset.json, or check the label files."
        yield False, text
    few = [f"{clean(name)} ({count} of {len(labels)})" for name, count in counts.items() if 0 < count < RARE_CASES]
    if few and len(labels) >= MANY_CASES:
        text = f"labels in fewer than {RARE_CASES} cases: {some(few)}. Some folds can neither learn nor measure them."
        yield False, f"{text} Add cases."


def label_cases(labels: Sequence[LabelLook], description: Description) -> dict[str, int]:
    """In how many cases each label occurs, without background and the ignore label."""
    counts = {}
    for name, value in description.labels.items():
        if name not in ("background", "ignore"):
            wanted = set(value if isinstance(value, list) else [value])
            counts[name] = sum(bool(wanted & set(label.values)) for label in labels)
    return counts


def _duplicates(cases: dict[str, CaseLook]) -> Iterator[str]:
    cases = {name: look for name, look in cases.items() if look.images}
    whole = {name: look for name, look in cases.items() if all(map(_says_something, look.images))}
    same = _same({name: [(image.digest, image.shape) for image in look.images] for name, look in whole.items()})
    if same:
        yield (
            f"cases with the same image under several names: {some(same)}. Keep one of each, or the validation "
            "measures what was trained on."
        )
        return
    for number in range(max((len(look.images) for look in cases.values() if len(look.images) > 1), default=0)):
        channel = {name: look.images[number] for name, look in cases.items() if len(look.images) > number}
        shared = _same({name: [image.digest] for name, image in channel.items() if _says_something(image)})
        if shared:
            yield f"cases with the same channel {number}: {some(shared)}. Export the right image of each case."
    labels = {name: look.label for name, look in cases.items() if look.label is not None and any(look.label.values)}
    groups = _same({name: [label.digest, label.shape] for name, label in labels.items() if label.digest})
    if groups and sum(group.count(EQUAL) + 1 for group in groups) * 2 <= len(labels):  # else they are made alike
        yield f"different images with the same label file: {some(groups)}. Find the label that belongs to each."


def _says_something(image: FileLook) -> bool:
    return bool(image.digest) and image.lowest != image.highest


def _same(things: Mapping[str, Sequence[object]]) -> list[str]:
    """The names of things that are equal: "a = b"."""
    groups: dict[object, list[str]] = defaultdict(list)
    for name, thing in sorted(things.items()):
        groups[tuple(thing)].append(name)
    return [EQUAL.join(clean(name) for name in names[:3]) for names in groups.values() if len(names) > 1]


def _odd_spacings(cases: dict[str, CaseLook]) -> Iterator[str]:
    spacings = {name: look.images[0].spacing for name, look in cases.items() if look.images and look.images[0].spacing}
    flat = {name for name, look in cases.items() if look.images and look.images[0].shape[:1] == (1,)}
    if flat and len(flat) < len(spacings):
        few = flat if len(flat) * 2 <= len(spacings) else set(spacings) - flat
        kind = "of a single slice among 3D images" if few == flat else "in 3D among images of a single slice"
        yield f"images {kind}: {some(sorted(few))}. Keep 2D and 3D images in datasets of their own."
        return
    middle = [median(axis) for axis in zip(*spacings.values(), strict=True)]
    odd = [
        (name, spacing(found))
        for name, found in sorted(spacings.items())
        if any(not LEAST_MM <= part <= MOST_MM for part in found[-3:] if not flat)
        or any(max(a / b, b / a) >= FACTOR for a, b in zip(found, middle, strict=True) if a > 0 and b > 0)
    ]
    if odd:
        yield (
            f"suspicious spacing: {told(odd)}, median {spacing(middle)}. Correct the header if it is wrong: nnU-Net "
            "resamples by it."
        )


def _orientations(cases: dict[str, CaseLook], reader: Reader) -> Iterator[str]:
    """nnU-Net takes the voxels in the order in which they are stored, unless a reader is named that turns them."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, look in sorted(cases.items()):
        if look.images and (order := voxel_order(look.images[0], reader)):
            found[order].append(name)
    if len(found) > 1:
        counts = sorted(found.items(), key=lambda item: -len(item[1]))
        told_counts = "; ".join(f"{len(names)} {order} ({some(names, 2)})" for order, names in counts[:4])
        turning = "SimpleITKIO" if reader == "simpleitk" else "NibabelIO"
        yield (
            f"images stored in different voxel orders: {told_counts}. nnU-Net does not turn them: store all alike, or "
            f'write "overwrite_image_reader_writer": "{turning}{REORIENTING}" into dataset.json.'
        )


def voxel_order(image: FileLook, reader: Reader) -> str:
    """Where the x, y and z axes of the stored voxels point to, such as RAS; empty where it is not known."""
    if len(image.direction) != 9 or image.shape[:1] == (1,) or image.unplaced:
        return ""
    order = ""
    for axis in range(3):
        column = [image.direction[3 * row + axis] for row in range(3)]
        row = max(range(3), key=lambda number: abs(column[number]))
        letters = ("LR", "PA", "IS") if reader == "nibabel" else ("RL", "AP", "IS")  # ITK's x and y are turned
        order += letters[row][column[row] > 0]
    return order


def _lost_headers(cases: dict[str, CaseLook]) -> Iterator[str]:
    """Cases whose header says nothing of the geometry, among others that have one."""
    images = {name: look.images[0] for name, look in sorted(cases.items()) if look.images and look.images[0].spacing}
    lost = [name for name, image in images.items() if image.unplaced or _is_default(image)]
    if all(set(image.spacing) == {1.0} for image in images.values()):  # nothing of use to nnU-Net is lost
        return
    if lost and len(lost) * 2 < len(images):
        yield (
            f"images whose header lost spacing or orientation, which the others have: {some(lost)}. Export them again "
            "from the source: nnU-Net resamples by the spacing."
        )


def _is_default(image: FileLook) -> bool:
    return set(image.spacing) == {1.0} and not any(image.origin)


def _thick_slices(cases: dict[str, CaseLook]) -> Iterator[str]:
    along = {name: axis for name, look in sorted(cases.items()) if look.images and (axis := _thick(look.images[0]))}
    usual = Counter(along.values()).most_common(1)[0][0] if along else ""
    others = [(name, axis) for name, axis in along.items() if axis != usual]
    if others:
        yield (
            f"slices that are thick along another axis than {usual}, as in most: {told(others)}. If the header is "
            "wrong, correct it; if not, turn the images: nnU-Net's patch is the same for all."
        )


def _thick(image: FileLook) -> str:
    if len(image.spacing) != 3 or image.shape[:1] == (1,):
        return ""
    ranked = sorted(zip(image.spacing, "zyx", strict=True), reverse=True)
    return ranked[0][1] if ranked[0][0] >= THICK * ranked[1][0] else ""


def _drawn_otherwise(cases: dict[str, CaseLook]) -> Iterator[str]:
    """Labels that cover most of an image, or few of its slices, where those of the other cases do not."""
    labels = {name: look.label for name, look in sorted(cases.items()) if look.label is not None and look.label.values}
    shares = {name: 1 - label.values.get(0, 0) / sum(label.values.values()) for name, label in labels.items()}
    usual = median(shares.values()) if len(shares) >= FEWEST_TO_COMPARE else 1.0
    most = [(name, f"{share:.0%}") for name, share in shares.items() if share > MOST]
    if most and usual < USUAL:
        yield (
            f"labels that cover most of the image: {told(most)}; {usual:.0%} is usual. They may be inverted: look "
            "at them, and swap 0 and 1 if so."
        )
    slices = {name: look.slices for name, look in sorted(cases.items()) if look.slices is not None}
    if len(slices) < FEWEST_TO_COMPARE or median(count for count, _ in slices.values()) < FEWEST_SLICES:
        return
    few = [name for name, (count, extent) in slices.items() if count == 1 or (count * 2 <= extent and count > 2)]
    if few and len(few) * 2 < len(slices):
        yield (
            f"labels in single slices of 3D images, unlike the others: {some(few)}. Label the slices between them, or "
            "give those the ignore label: nnU-Net takes them for background."
        )


def _left_and_right(description: Description) -> Iterator[str]:
    """nnU-Net mirrors along all axes, in training and in prediction, so that sides are told apart by place alone."""
    names = [name for name in description.labels if name != "background"]
    words = {name: CAMEL.sub("_", name).casefold().replace("_", " ") for name in names}
    left, right = ([name for name in names if side.search(words[name])] for side in (LEFT, RIGHT))
    stems = {RIGHT.sub(" ", words[name]).strip(): name for name in right}
    pairs = [f"{name} and {stems[stem]}" for name in left if (stem := LEFT.sub(" ", words[name]).strip()) in stems]
    if pairs:
        yield (
            f"labels of two sides: {some(pairs)}. nnU-Net mirrors images in training and prediction, which can mix up "
            f"sides: {argument(changes=['mirroring=none'])} of {call('nnunet_training')} leaves that out."
        )

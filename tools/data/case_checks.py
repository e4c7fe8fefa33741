"""What a look shows about a single case: what would break or falsify a training, and what should be checked by a
person.

Tolerances, and what counts as an error, are nnU-Net's own (2.8.1,
experiment_planning/verify_dataset_integrity.py:49-130 and imageio/base_reader_writer.py:23): shapes must be equal and
spacings close; a different origin or direction only warns.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ...calls import call
from ...nnunet.dataset_json import Description
from ...schemas.datasets import CaseLook, FileLook, LabelLook, Reader

ROUNDING = 1e-4
RELATIVE, ABSOLUTE = 1e-5, 1e-8  # the defaults of numpy.allclose, with which nnU-Net compares
SHOWN_VALUES = 6
EIGHT_BITS = 255
SPIKE = 0.5  # of the range of the other voxels, as the deviation that one voxel makes
# Undeclared values: pictures are smoothed to shades between the labels; volumes with so many hold an image.
FEW_SHADES, MANY_VALUES = 3, 100


class Kind(Enum):
    """One kind of fault: the words in front of the cases, the fix after them, and how bad it is."""

    UNREADABLE = "files that cannot be read whole", "Export or copy them again, or remove the case.", "breaks"
    NOT_NOW = (
        "files that could not be read now",
        "Give access or free memory and look again; export anew what crashes the reader.",
        "odd",
    )
    CHANNELS = (
        "images with another number of channels than dataset.json declares",
        f"Write each channel to a file of its own ({call('nnunet_prepare_dataset')} splits 4D images), or correct "
        "channel_names.",
        "breaks",
    )
    COLOURS = (
        "pictures with other colours than dataset.json declares",
        "Save them all alike, without alpha: RGB where three channels are declared, grey for one; or correct "
        "channel_names.",
        "breaks",
    )
    NO_COLOURS = (
        "channels called rgb_to_0_1 with values outside 0 to 255",
        "nnU-Net divides these by 255 and stops at others: scale them, or give the channel another name.",
        "breaks",
    )
    CHANNEL_SHAPES = "channels of different shape", "Resample the channels of a case to the same grid.", "breaks"
    CHANNEL_SPACINGS = "channels of different spacing", "Resample the channels of a case to the same grid.", "breaks"
    LABEL_CHANNELS = (
        "labels that hold more than one value per voxel",
        "Save them as one 3D image, or a grey 2D one, of label values.",
        "breaks",
    )
    LABEL_SHAPE = (
        "labels of another shape than their image",
        "Resample the label onto the image's grid (nearest neighbour), or find the label that belongs to it.",
        "breaks",
    )
    LABEL_SPACING = (
        "labels of another spacing than their image",
        "Copy the image's spacing into the label if they lie on the same grid; resample the label if not.",
        "breaks",
    )
    FRACTIONS = (
        "labels with values that are not whole numbers",
        "Round them, and resample labels with nearest neighbour, never linearly; a scl_slope in the header must be 1.",
        "breaks",
    )
    OTHER_NUMBER = (
        "masks whose one label has another value than declared",
        f"Change it to the declared one (255 divided by 255), or import them with "
        f"{call('nnunet_prepare_dataset', label_names='255=NAME')}.",
        "breaks",
    )
    SHADES = (
        "labels that hold shades, not label values",
        "Save masks without smoothing and never as JPEG; these need a threshold, or a new export.",
        "breaks",
    )
    NUMBERED = (
        "labels that number the objects where dataset.json declares one label",
        "nnU-Net segments classes, not objects: set every value above 0 to 1.",
        "breaks",
    )
    UNDECLARED = (
        "label values that dataset.json does not declare",
        "Declare them in labels (without gaps: 0, 1, 2, ...), or change them in the label files.",
        "breaks",
    )
    NOT_NUMBERS = (
        "files with voxels that are NaN or infinite",
        "Replace them by a value that makes sense, such as the background's; nnU-Net's NIfTI reader silently makes "
        "them 0, other readers pass them on.",
        "falsifies",
    )
    EMPTY = "images that hold nothing but one value", "Export them again, or remove the case.", "falsifies"
    OWN_LABEL = "images that are the same file as their label", "Export the image again.", "falsifies"
    CHANNEL_ORIGIN = (
        "channels that lie elsewhere in space (origin or direction) than the first",
        "nnU-Net ignores that; make sure with an overlay that they match voxel by voxel, or resample.",
        "odd",
    )
    LABEL_ORIGIN = (
        "labels with another origin than their image",
        f"nnU-Net ignores that; look at {call('nnunet_plot', kind='dataset')} and copy the image's origin if they "
        "match.",
        "odd",
    )
    LABEL_DIRECTION = (
        "labels with another direction than their image",
        f"nnU-Net ignores that, so they may be mirrored: look at {call('nnunet_plot', kind='dataset')}, and resample "
        "onto the image's grid.",
        "odd",
    )
    ONE_VALUE = "channels that hold nothing but one value", "Make sure that they are meant to be missing.", "odd"
    SAME_CHANNELS = (
        "channels that are the same image twice",
        "Export the right image for each channel, or declare one channel less.",
        "odd",
    )
    NO_FOREGROUND = "labels with only background", "Make sure that nothing is there to segment.", "odd"
    HEADER = "files with an impossible spacing in the header", "Correct it; nnU-Net reads 1 mm.", "odd"
    TWICE = (
        "files whose header contradicts itself",
        "nnU-Net takes the spacing of pixdim; other programs may show and resample them otherwise. Write the right one "
        "in both places.",
        "odd",
    )
    NO_SPACING = (
        "3D TIFFs without the JSON file that holds their spacing, which others have",
        'nnU-Net reads 1 × 1 × 1 mm: put {"spacing": [z, y, x]} into CASE.json beside them.',
        "odd",
    )
    SPIKES = (
        "images in which single voxels outshine all others",
        "Correct or clip them: they alone set the mean and deviation by which nnU-Net scales the image.",
        "odd",
    )

    @property
    def words(self) -> str:
        return self.value[0]

    @property
    def fix(self) -> str:
        return self.value[1]

    @property
    def weight(self) -> str:
        return self.value[2]


@dataclass(frozen=True)
class Expected:
    """What dataset.json promises of every case."""

    channels: tuple[str, ...]
    values: frozenset[int]
    reader: Reader | None

    @property
    def pictures(self) -> bool:
        return self.reader == "natural"

    @classmethod
    def of(cls, description: Description, reader: Reader | None) -> "Expected":
        parts = [value if isinstance(value, list) else [value] for value in description.labels.values()]
        return cls(tuple(description.channels), frozenset(v for part in parts for v in part), reader)


Found = Iterator[tuple[Kind, str]]


def check_case(look: CaseLook, expected: Expected) -> Found:
    """Every fault of one case. A fault that follows from another one is not reported again."""
    broken = [file.error for file in (*look.images, look.label) if file is not None and file.error]
    if broken:
        yield (Kind.UNREADABLE if look.kept else Kind.NOT_NOW), _which(look)
    images = [image for image in look.images if not image.error]
    if images and len(images) == len(look.images):
        yield from _check_images(images, expected)
    label = look.label if look.label is not None and not look.label.error else None
    if label is not None:
        yield from _check_values(label, expected)
    if label is not None and look.images and not look.images[0].error:
        yield from _check_match(look.images[0], label)
        if label.digest in {image.digest for image in images if image.lowest != image.highest}:
            yield Kind.OWN_LABEL, ""
    said = [file.twice for file in (*images, label) if file is not None and file.twice]
    if said:
        yield Kind.TWICE, said[0]
    notes = [file.note for file in (*images, label) if file is not None and file.note]
    if notes:
        yield Kind.HEADER, notes[0]


def _which(look: CaseLook) -> str:
    if look.label is not None and look.label.error:
        return f"label: {look.label.error}"
    number, image = next((number, image) for number, image in enumerate(look.images) if image.error)
    return f"image{f' {number:04d}' if len(look.images) > 1 else ''}: {image.error}"


def _check_images(images: Sequence[FileLook], expected: Expected) -> Found:
    channels, wanted = sum(image.channels for image in images), len(expected.channels)
    if channels != wanted and (expected.pictures and len(images) == 1):
        yield Kind.COLOURS, f"{channels} instead of {wanted}"
    elif channels != wanted and any(image.channels > 1 for image in images):
        yield Kind.CHANNELS, f"{channels} instead of {wanted}"
    first = images[0]
    if other := next((image for image in images if image.shape != first.shape), None):
        yield Kind.CHANNEL_SHAPES, f"{shape(first.shape)} and {shape(other.shape)}"
    elif other := next((image for image in images if not close(first.spacing, image.spacing)), None):
        yield Kind.CHANNEL_SPACINGS, f"{spacing(first.spacing)} and {spacing(other.spacing)}"
    elif not all(near(first.origin, i.origin) and near(first.direction, i.direction) for i in images):
        yield Kind.CHANNEL_ORIGIN, ""
    if expected.reader == "tiff" and any(image.unplaced for image in images):
        yield Kind.NO_SPACING, ""
    yield from _check_intensities(images)
    yield from _check_scaling(images, expected)


def _check_scaling(images: Sequence[FileLook], expected: Expected) -> Found:
    """What the normalisation that nnU-Net chooses by a channel's name makes of its values."""
    for image, name in zip(images, map(str.casefold, expected.channels), strict=False):
        if image.lowest is None or image.highest is None or image.quantiles is None:
            continue
        if name == "rgb_to_0_1" and not 0 <= image.lowest <= image.highest <= EIGHT_BITS:
            yield Kind.NO_COLOURS, f"{image.lowest:g} to {image.highest:g}"
        low, _, high = image.quantiles
        beyond = max(image.highest - high, low - image.lowest)
        # one voxel of N that lies k ranges away has alone a deviation of k / √N ranges
        if (
            name not in ("ct", "nonorm")
            and high > low
            and beyond / (high - low) > SPIKE * math.prod(image.shape) ** 0.5
        ):
            said = image.highest if beyond == image.highest - high else image.lowest
            yield Kind.SPIKES, f"{said:.6g}, the others {low:.4g} to {high:.4g}"


def _check_intensities(images: Sequence[FileLook]) -> Found:
    bad = [(image.not_numbers, image.infinite) for image in images if image.not_numbers or image.infinite]
    if bad:
        yield Kind.NOT_NUMBERS, f"{sum(map(sum, bad))} voxels"
    constant = [number for number, image in enumerate(images) if image.lowest == image.highest and not _no_value(image)]
    if len(constant) == len(images) or any(_no_value(image) for image in images):
        yield Kind.EMPTY, "" if images[0].lowest is None else f"all {images[0].lowest:g}"
    elif constant:
        yield Kind.ONE_VALUE, f"channel {constant[0]}"
    digests = [image.digest for number, image in enumerate(images) if number not in constant]
    if len(set(digests)) < len(digests):
        yield Kind.SAME_CHANNELS, ""


def _no_value(image: FileLook) -> bool:
    return image.lowest is None


def _check_values(label: LabelLook, expected: Expected) -> Found:
    if label.channels > 1:
        yield Kind.LABEL_CHANNELS, str(label.channels)
        return
    strange = sorted(set(label.values) - expected.values)  # at least: there were too many values to count all
    if label.not_numbers or label.infinite:
        yield Kind.NOT_NUMBERS, f"label: {label.not_numbers + label.infinite} voxels"
    if label.fractional:
        yield Kind.FRACTIONS, f"{label.fractional} voxels"
    elif strange:
        said = ", ".join(map(str, strange[:SHOWN_VALUES])) + ("…" if strange[SHOWN_VALUES:] else "")
        yield _undeclared(sorted(label.values), strange, expected), said
    elif not any(count for value, count in label.values.items() if value != 0):
        yield Kind.NO_FOREGROUND, ""


def _undeclared(values: list[int], strange: list[int], expected: Expected) -> Kind:
    one_label = len(expected.values - {0}) == 1
    if one_label and values in ([0, *strange], strange) and len(strange) == 1 and strange[0] > 0:
        return Kind.OTHER_NUMBER
    without_gaps = values[0] == 0 and values[-1] == len(values) - 1
    if one_label and without_gaps:
        return Kind.NUMBERED
    many = FEW_SHADES if expected.pictures else MANY_VALUES
    return Kind.SHADES if len(strange) >= many and not without_gaps else Kind.UNDECLARED


def _check_match(image: FileLook, label: LabelLook) -> Found:
    if image.shape != label.shape:
        yield Kind.LABEL_SHAPE, f"{shape(label.shape)}, image {shape(image.shape)}"
    elif not close(label.spacing, image.spacing):
        yield Kind.LABEL_SPACING, f"{spacing(label.spacing)}, image {spacing(image.spacing)}"
    elif not near(image.direction, label.direction):
        yield Kind.LABEL_DIRECTION, ""
    elif not near(image.origin, label.origin):
        yield Kind.LABEL_ORIGIN, f"{far(image.origin, label.origin):.3g} mm away"


def close(one: Sequence[float], other: Sequence[float], absolute: float = ABSOLUTE) -> bool:
    """Whether two sequences are close, as numpy.allclose defines it."""
    return len(one) == len(other) and all(
        abs(a - b) <= absolute + RELATIVE * abs(b) for a, b in zip(one, other, strict=True)
    )


def near(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether origins or directions differ only by rounding; nnU-Net warns about rounding, too."""
    return close(one, other, ROUNDING)


def far(one: Sequence[float], other: Sequence[float]) -> float:
    """The distance between two points."""
    return math.dist(one, other) if len(one) == len(other) else math.inf


def shape(lengths: Sequence[int]) -> str:
    """A shape along z, y, x, in words."""
    return "×".join(map(str, lengths))


def spacing(lengths: Sequence[float]) -> str:
    """In mm along z, y, x."""
    return "×".join(f"{length:.4g}" for length in lengths) + " mm"

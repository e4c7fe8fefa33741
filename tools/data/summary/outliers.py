"""Which cases stand out from the others, by robust statistics.

A case stands out where its modified z-score is above 3.5 (Iglewicz and Hoaglin, Detect and Handle Outliers, 1993,
p. 11) and it is also far from the median in itself: among cases that are alike every small difference has a high score.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import median

from ....nnunet.dataset_json import Description
from ....schemas.datasets import CaseLook, FileLook
from ....texts import clean
from ..case_checks import Expected, check_case, shape, spacing
from ..looks import Looks

SCORE, PER_DEVIATION = 3.5, 0.6745  # 0.6745: the median absolute deviation of a normal distribution of width 1
FEWEST = 5  # of fewer cases the median says little
# Twice or half as long, or as large per axis: nnU-Net's own augmentation scales by 0.7 to 1.4 (nnUNetTrainer.py:763).
FAR_LENGTH, FAR_VOLUME = 2.0, 8.0
FAR_SHARE = 0.5  # intensities: half of the usual range between the percentiles
CUBIC_MM_PER_ML = 1000.0

Looked = Mapping[str, CaseLook]
Found = Iterator[tuple[str, str]]


def outliers(looks: Looks, description: Description) -> dict[str, str]:
    """What is unusual about each case that stands out, those with most of it first."""
    found: dict[str, list[str]] = defaultdict(list)
    for case, what in _unusual(looks, description):
        found[case].append(what)
    return {case: "; ".join(found[case]) for case in sorted(found, key=lambda case: (-len(found[case]), case))}


def flagged(looks: Looks, description: Description) -> dict[str, str]:
    """The cases worth a look by eye, and why: those with faults, then those that stand out."""
    expected = Expected.of(description, looks.reader)
    first_faults = {case: next(check_case(look, expected), None) for case, look in sorted(looks.found.items())}
    faulty = {case: f"among {fault[0].words}" for case, fault in first_faults.items() if fault}
    return {**faulty, **{case: what for case, what in outliers(looks, description).items() if case not in faulty}}


def volumes_of(looks: Looks, description: Description) -> dict[str, dict[str, float]]:
    """Of each label the volume in each case that has it, in mL; in voxels where images have no size in mm."""
    found: dict[str, dict[str, float]] = {}
    for name, value in description.labels.items():
        if name not in ("background", "ignore"):
            parts = value if isinstance(value, list) else [value]
            sizes = {case: _volume(look, parts, looks) for case, look in looks.found.items()}
            found[name] = {case: size for case, size in sizes.items() if size}
    return found


def _volume(look: CaseLook, values: list[int], looks: Looks) -> float:
    label = look.label
    if label is None or label.error:
        return 0.0
    voxels = sum(label.values.get(value, 0) for value in values)
    return voxels * (math.prod(label.spacing) / CUBIC_MM_PER_ML if in_mm(looks) else 1.0)


def in_mm(looks: Looks) -> bool:
    """Whether the images have a size: pictures have none, and TIFF only by a file beside it."""
    return looks.reader in ("simpleitk", "nibabel")


def _unusual(looks: Looks, description: Description) -> Found:
    images = {case: look.images for case, look in sorted(looks.found.items()) if look.images}
    first = {case: files[0] for case, files in images.items() if not files[0].error and len(files[0].shape) == 3}
    if in_mm(looks):
        yield from _of_lengths(
            "spacing", {case: (image.spacing, spacing(image.spacing)) for case, image in first.items()}
        )
    yield from _of_lengths("shape", {case: (image.shape, shape(image.shape)) for case, image in first.items()})
    for number, name in enumerate(description.channels):
        of_channel = {case: files[number] for case, files in images.items() if number < len(files)}
        yield from _of_intensities(clean(name), of_channel)
    unit = "mL" if in_mm(looks) else "voxels"
    for name, volumes in volumes_of(looks, description).items():
        logs = {case: math.log(size) for case, size in volumes.items()}
        usual = median(volumes.values()) if volumes else 0.0
        for case in far(logs, math.log(FAR_VOLUME)):
            yield case, f"{clean(name)} {volumes[case]:.3g} {unit} (usual {usual:.3g})"


def _of_lengths(what: str, cases: Mapping[str, tuple[tuple[float, ...], str]]) -> Found:
    """Lengths along three axes, each with their words."""
    odd: dict[str, None] = {}
    for axis in range(3):
        logs = {case: math.log(lengths[axis]) for case, (lengths, _) in cases.items() if lengths[axis] > 0}
        odd |= dict.fromkeys(far(logs, math.log(FAR_LENGTH)))
    for case in odd:
        yield case, f"{what} {cases[case][1]}"


def _of_intensities(channel: str, images: Mapping[str, FileLook]) -> Found:
    known = {case: image.quantiles for case, image in images.items() if image.quantiles is not None}
    if len(known) < FEWEST:
        return
    lows, middles, highs = ({case: parts[number] for case, parts in known.items()} for number in range(3))
    reach = FAR_SHARE * (median(highs.values()) - median(lows.values()))
    told = set[str]()
    for what, values in (("99.5th percentile", highs), ("median", middles)):
        for case in far(values, reach):
            if case not in told:
                yield case, f"{channel} {what} {values[case]:.4g} (usual {median(values.values()):.4g})"
            told.add(case)


def far(values: Mapping[str, float], least: float) -> list[str]:
    """The cases whose value is at least so far from the median, and unusually far."""
    if len(values) < FEWEST:
        return []
    middle = median(values.values())
    away = {case: abs(value - middle) for case, value in values.items()}
    width = median(away.values())
    return [case for case, d in away.items() if d >= least > 0 and PER_DEVIATION * d > SCORE * width]

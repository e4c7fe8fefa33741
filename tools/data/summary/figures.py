"""Sum up the looks into all cases in a few numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ....nnunet.dataset_json import Description
from ....schemas.datasets import CaseLook, ChannelStatistics, FileLook, LabelLook, LabelStatistics, Spread, ValueRange
from ....texts import clean
from ..case_checks import spacing
from ..findings import label_cases

MOST_LABELS = 40
NO_AXIS = 999  # times the largest spacing: of an axis that 2D images lack (simpleitk_reader_writer.py:47)
MOST_CHANNELS = 16
DIGITS = 5
# By the channel's name, casefolded (nnunetv2 2.8.1, map_channel_name_to_normalization.py:6-12); all others: z-score.
NORMALIZATIONS = {
    "nonorm": "left as it is",
    "rescale_to_0_1": "scaled to 0 to 1 by the image's own lowest and highest value",
    "rgb_to_0_1": "divided by 255",
}
MASKED_BELOW = 0.75  # default_experiment_planner.py:196
# Spacings within 20 % are one resolution. MR scanners and exports differ by factors; one scanner's images hardly by 3.
SAME_RESOLUTION, OTHER_SCALE = 1.2, 3.0
LEAST_SHARE = 0.1  # of the cases: fewer are outliers, no group
MOST_GROUPS, MOST_SPACINGS = 4, 200


def rounded(number: float) -> float:
    """The value with five digits."""
    short = float(f"{number:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def spread(lengths: Sequence[Sequence[float]], axes: int = 3) -> Spread | None:
    """Median, smallest and largest along each axis."""
    each = list(zip(*[found for found in lengths if len(found) == axes], strict=True))
    if not each:
        return None
    median_, least, most = (tuple(rounded(of(axis)) for axis in each) for of in (median, min, max))
    return Spread(median=median_, smallest=least, largest=most)


def spacings(images: Sequence[FileLook], *, in_mm: bool) -> Spread | None:
    """Of images that have a size in mm, along the axes that they have: for the third of 2D ones nnU-Net makes it up."""
    found = [image.spacing for image in images if len(image.spacing) == 3]
    flat = any(one[0] >= NO_AXIS * max(one[1:]) for one in found)
    return spread([one[flat:] for one in found], axes=3 - flat) if in_mm else None


def first_images(looks: Sequence[CaseLook]) -> list[FileLook]:
    """The first channel of each case that could be read."""
    return [look.images[0] for look in looks if look.images and not look.images[0].error]


def voxel_types(looks: Sequence[CaseLook]) -> tuple[str, ...]:
    """The types in which the images are stored."""
    return tuple(sorted({image.dtype for look in looks for image in look.images if image.dtype}))


def intensities(
    looks: Sequence[CaseLook], description: Description, cropped_to: float, fingerprint: Any = None
) -> tuple[ChannelStatistics, ...]:
    """The intensities of each channel and what nnU-Net makes of them. `cropped_to` is the median share of an image that
    is left after nnU-Net's cropping."""
    found = []
    for number, name in enumerate(description.channels[:MOST_CHANNELS]):
        images = {look.case: held[number] for look in looks if number < len(held := _channels(look))}
        if numbers := {case: image for case, image in images.items() if image.quantiles is not None}:
            found.append(_channel(name, numbers, _normalization(name, number, cropped_to, fingerprint)))
    return tuple(found)


def _channels(look: CaseLook) -> Sequence[ValueRange]:
    """The channels of a case: its files, or the colours of its one file."""
    return look.images[0].colours if len(look.images) == 1 and look.images[0].colours else look.images


def _normalization(name: str, number: int, cropped_to: float, fingerprint: Any) -> str:
    """In words what nnU-Net does by the channel's name."""
    scheme = name.casefold()
    if scheme == "ct":
        return _of_ct(number, fingerprint)
    if scheme in NORMALIZATIONS:
        return NORMALIZATIONS[scheme]
    where = "what is not zero in the image" if cropped_to < MASKED_BELOW else "the image"
    return f"z-score by mean and standard deviation of {where}"


def _of_ct(number: int, fingerprint: Any) -> str:
    """Clipped and scaled by all cases; the figures are known once nnU-Net has made a fingerprint."""
    try:
        found = fingerprint["foreground_intensity_properties_per_channel"][str(number)]
        low, high, mean, std = (found[key] for key in ("percentile_00_5", "percentile_99_5", "mean", "std"))
        return f"clipped to {low:.4g} to {high:.4g}, then minus {mean:.4g}, divided by {std:.4g}"
    except (KeyError, TypeError, ValueError):
        return "clipped to the 0.5th to 99.5th percentile of all labelled voxels, then scaled by their mean and spread"


def _channel(name: str, images: dict[str, ValueRange], normalization: str) -> ChannelStatistics:
    lows, middles, highs = zip(*[image.quantiles for image in images.values() if image.quantiles], strict=True)
    highest_in = max(images, key=lambda case: images[case].highest or 0.0)
    return ChannelStatistics(
        channel=clean(name),
        lowest=rounded(min(image.lowest for image in images.values() if image.lowest is not None)),
        percentile_00_5=rounded(median(lows)),
        median=rounded(median(middles)),
        percentile_99_5=rounded(median(highs)),
        highest=rounded(max(image.highest for image in images.values() if image.highest is not None)),
        highest_in=clean(highest_in),
        normalization=normalization,
    )


def mixed(looks: Sequence[CaseLook], description: Description, *, in_mm: bool) -> tuple[str, ...]:
    """What sets groups of cases apart: several resolutions, or scales of intensities, as of several scanners."""
    images = first_images(looks)
    said = []
    if in_mm and len(groups := _resolutions([image.spacing for image in images])) > 1:
        told = ", ".join(f"{spacing(one)} ({count} cases)" for one, count in groups[:MOST_GROUPS])
        said.append(f"resolutions: {told}")
    for number, name in enumerate(description.channels[:MOST_CHANNELS]):
        if name.casefold() in ("ct", "rgb_to_0_1"):
            continue
        highs = [look.images[number].quantiles for look in looks if number < len(look.images)]
        if parts := _two_scales(sorted(part[2] for part in highs if part is not None)):
            lower, upper = parts
            said.append(
                f"channel {clean(name)}: 99.5th percentile of {len(lower)} cases up to {lower[-1]:.4g}, of the other "
                f"{len(upper)} from {upper[0]:.4g}"
            )
    return tuple(said)


def _resolutions(spacings: Sequence[tuple[float, ...]]) -> list[tuple[tuple[float, ...], int]]:
    """A spacing for each group of cases that is not small, and how many are like it."""
    counts: dict[tuple[float, ...], int] = {}
    for found, count in Counter(one for one in spacings if len(one) == 3 and min(one) > 0).most_common(MOST_SPACINGS):
        like = next((one for one in counts if _alike(one, found)), found)
        counts[like] = counts.get(like, 0) + count
    return [(one, count) for one, count in counts.items() if count >= max(2, LEAST_SHARE * len(spacings))]


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(max(a / b, b / a) <= SAME_RESOLUTION for a, b in zip(one, other, strict=True))


def _two_scales(values: list[float]) -> tuple[list[float], list[float]] | None:
    """The sorted values on both sides of their widest gap, where both sides are many and far apart."""
    least = max(2, round(LEAST_SHARE * len(values)))
    ratios = {n: values[n] / values[n - 1] for n in range(least, len(values) - least + 1) if values[n - 1] > 0}
    widest = max(ratios, key=lambda n: ratios[n], default=0)
    return (values[:widest], values[widest:]) if ratios.get(widest, 0.0) >= OTHER_SCALE else None


def label_statistics(
    looks: Sequence[CaseLook], description: Description, volumes: Mapping[str, Mapping[str, float]], unit: str
) -> dict[str, LabelStatistics]:
    """Share of the voxels, number of cases and volumes of each label; a region counts all values it holds."""
    labels = [look.label for look in looks if look.label is not None and not look.label.error]
    voxels = sum(sum(label.values.values()) for label in labels)
    if not voxels:
        return {}
    counts = label_cases(labels, description)
    return {
        clean(name): LabelStatistics(
            share=_share(labels, description.labels[name], voxels), cases=cases, volume=_volume(volumes[name], unit)
        )
        for name, cases in list(counts.items())[:MOST_LABELS]
    }


def _volume(sizes: Mapping[str, float], unit: str) -> str:
    if not sizes:
        return ""
    middle, least, most = (f"{of(sizes.values()):.3g}" for of in (median, min, max))
    return f"{middle} {unit}" + (f" ({least} to {most})" if len(sizes) > 1 else "")


def _share(labels: list[LabelLook], value: int | list[int], voxels: int) -> float:
    wanted = value if isinstance(value, list) else [value]
    return float(f"{sum(label.values.get(part, 0) for label in labels for part in wanted) / voxels:.3g}")

"""Sum up the looks into all cases in a few numbers."""

from collections.abc import Sequence
from statistics import median

from ...nnunet.dataset_json import Description
from ...schemas.datasets import CaseLook, ChannelStatistics, FileLook, LabelLook, LabelStatistics, Spread
from ...texts import clean
from .findings import label_cases

MOST_LABELS = 40
MOST_CHANNELS = 16
DIGITS = 5


def rounded(number: float) -> float:
    """The value with five digits."""
    short = float(f"{number:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def spread(lengths: Sequence[Sequence[float]]) -> Spread | None:
    """Median, smallest and largest along each axis."""
    axes = list(zip(*[found for found in lengths if len(found) == 3], strict=True))
    if not axes:
        return None
    median_, least, most = (tuple(rounded(of(axis)) for axis in axes) for of in (median, min, max))
    return Spread(median=median_, smallest=least, largest=most)


def first_images(looks: Sequence[CaseLook]) -> list[FileLook]:
    """The first channel of each case that could be read."""
    return [look.images[0] for look in looks if look.images and not look.images[0].error]


def voxel_types(looks: Sequence[CaseLook]) -> tuple[str, ...]:
    """The types in which the images are stored."""
    return tuple(sorted({image.dtype for look in looks for image in look.images if image.dtype}))


def intensities(looks: Sequence[CaseLook], description: Description) -> tuple[ChannelStatistics, ...]:
    """The intensities of each channel; channels in one file, such as colours, are summed up together."""
    found = []
    for number, name in enumerate(description.channels[:MOST_CHANNELS]):
        images = {look.case: look.images[number] for look in looks if number < len(look.images)}
        if numbers := {case: image for case, image in images.items() if image.quantiles is not None}:
            found.append(_channel(name, numbers))
    return tuple(found)


def _channel(name: str, images: dict[str, FileLook]) -> ChannelStatistics:
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
    )


def label_statistics(looks: Sequence[CaseLook], description: Description) -> dict[str, LabelStatistics]:
    """Share of the voxels and number of cases of each label; a region counts all values it holds."""
    labels = [look.label for look in looks if look.label is not None and not look.label.error]
    voxels = sum(sum(label.values.values()) for label in labels)
    if not voxels:
        return {}
    counts = label_cases(labels, description)
    return {
        clean(name): LabelStatistics(share=_share(labels, description.labels[name], voxels), cases=cases)
        for name, cases in list(counts.items())[:MOST_LABELS]
    }


def _share(labels: list[LabelLook], value: int | list[int], voxels: int) -> float:
    wanted = value if isinstance(value, list) else [value]
    return float(f"{sum(label.values.get(part, 0) for label in labels for part in wanted) / voxels:.3g}")

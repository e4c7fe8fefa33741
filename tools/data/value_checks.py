"""What the intensities of all cases show together: channels with the wrong name or content, other scales, and labels
that lie on something else than those of the other cases."""

import re
from collections.abc import Iterator
from statistics import median

from ...nnunet.dataset_json import Description
from ...schemas.datasets import CaseLook, FileLook
from ...texts import clean, told

Cases = dict[str, CaseLook]

FEWEST_TO_COMPARE = 3
# Times the usual 99.5th percentile; scanners differ by less than this.
FAR = 20.0
EIGHT_BITS = 255.0
CT_AIR, CT_FAT = -900.0, -50.0  # Hounsfield units: air is -1000, fat about -100
HU_APART = 50.0  # as far as soft tissues are from fat
# nnU-Net 2.8.1, preprocessing/normalization/map_channel_name_to_normalization.py; every other name is z-scored
OWN_SCALING = ("ct", "nonorm", "zscore", "rescale_to_0_1", "rgb_to_0_1")
CALLED_CT = re.compile(r"(?:^|[^a-z])(?:cb|ld|nc|ce)?cta?(?:$|[^a-z])")
TWICE_AS_BRIGHT, MOST_SWAPPED = 2.0, 0.2
# Of the range of an image: a label so much brighter or darker than the background is seen at a glance.
CONTRAST, FEWEST_CONTRASTS, FAINT, STEADY = 0.2, 5, 0.25, 0.25


def value_warnings(cases: Cases, description: Description) -> Iterator[str]:
    """Sentences about channels and what the labels lie on."""
    for number, name in enumerate(description.channels):
        images = {case: look.images[number] for case, look in sorted(cases.items()) if len(look.images) > number}
        known = {case: image for case, image in images.items() if image.lowest is not None and image.quantiles}
        if known:
            yield from _name(number, name, known)
            yield from _other_scales(name, known)
    yield from _swapped_channels(cases, description)
    yield from _ignored_in_ct(cases, description)
    yield from _labels_elsewhere(cases, description)


def _name(number: int, name: str, images: dict[str, FileLook]) -> Iterator[str]:
    """Check a channel's name against its values: the name chooses the normalisation."""
    lows = [image.lowest for image in images.values() if image.lowest is not None]
    highs = [image.highest for image in images.values() if image.highest is not None]
    called = f"channel {number} is called {clean(name)}"
    if name.casefold() == "ct" and min(lows) >= 0:
        why = "which are no" if max(highs) <= EIGHT_BITS else "and not one is below 0, as air and fat are in"
        yield (
            f"{called}, but its values are {min(lows):g} to {max(highs):g}, {why} Hounsfield units. Export the CT "
            "unscaled; if it is a PET or another image, call it so."
        )
    if name.casefold() in OWN_SCALING:
        return
    if median(lows) <= CT_AIR and median(highs) > 0:
        yield (
            f"{called}, but its values look like Hounsfield units. If it is a CT, call it CT: the name chooses the "
            "normalisation."
        )
    elif CALLED_CT.search(name.casefold()):
        yield (
            f"{called}, which nnU-Net does not know: only the exact name CT keeps Hounsfield units, others are scaled "
            "image by image. Call it CT if that is meant."
        )


def _other_scales(name: str, images: dict[str, FileLook]) -> Iterator[str]:
    """CT cases whose values are of another order than the others': all cases share one clipping and one scale."""
    if name.casefold() != "ct" or len(images) < FEWEST_TO_COMPARE:
        return
    highs = {case: image.quantiles[2] for case, image in images.items() if image.quantiles is not None}
    lows = {case: image.lowest for case, image in images.items() if image.lowest is not None}
    usual, least = median(highs.values()), median(lows.values())
    far = [(case, f"{high:.6g}") for case, high in highs.items() if high > FAR * usual > 0]
    if far:
        yield (
            f"CT values on another scale: {told(far)}, by the 99.5th percentile; {usual:.6g} is usual. Correct "
            "them: nnU-Net clips and normalises a CT by all cases."
        )
    shifted = [(case, f"from {low:.6g}") for case, low in lows.items() if low >= 0 and least <= 2 * CT_FAT]
    if shifted:
        yield (
            f"CT values that begin at 0 or above, where the others begin at {least:.6g}: {told(shifted)}. They are "
            "windowed, or lack their intercept of -1024: export them in Hounsfield units."
        )


def _swapped_channels(cases: Cases, description: Description) -> Iterator[str]:
    """Cases in which one channel is the darker of two that is the brighter in all others."""
    for first in range(len(description.channels)):
        for second in range(first + 1, len(description.channels)):
            ratios = {case: ratio for case, look in cases.items() if (ratio := _brighter(look, first, second))}
            usual = median(ratios.values()) if len(ratios) >= FEWEST_CONTRASTS else 1.0
            turned = [case for case, ratio in sorted(ratios.items()) if (ratio > 1) != (usual > 1)]
            clear = all(max(ratio, 1 / ratio) >= TWICE_AS_BRIGHT for ratio in ratios.values())
            if turned and clear and len(turned) <= MOST_SWAPPED * len(ratios):
                names = [clean(description.channels[number]) for number in (first, second)]
                yield (
                    f"channels that look swapped: {told((case, '') for case in turned)}; in all other cases {names[0]} "
                    f"is {'brighter' if usual > 1 else 'darker'} than {names[1]}. Look at them, and rename the files."
                )


def _brighter(look: CaseLook, first: int, second: int) -> float | None:
    """How many times as bright one channel is as another."""
    if len(look.images) <= second:
        return None
    one, other = look.images[first].quantiles, look.images[second].quantiles
    return one[2] / other[2] if one and other and one[2] > 0 and other[2] > 0 else None


def _ignored_in_ct(cases: Cases, description: Description) -> Iterator[str]:
    """nnU-Net's CT statistics are those of all values above 0, the ignored ones too (fingerprint_extractor.py:59)."""
    ignored = description.labels.get("ignore")
    for number, name in enumerate(description.channels):
        if not isinstance(ignored, int) or name.casefold() != "ct":
            continue
        with_it, without = _foreground_mean(cases, number, None), _foreground_mean(cases, number, ignored)
        if with_it is not None and without is not None and abs(with_it - without) > HU_APART:
            yield (
                f"the ignored voxels count in nnU-Net's statistics of {clean(name)}: it scales by a mean of "
                f"{with_it:.0f} HU, and that of the labels is {without:.0f}. Ignore less of what is far from the "
                "labels, or set foreground_intensity_properties_per_channel in the plans."
            )


def _foreground_mean(cases: Cases, channel: int, left_out: int | None) -> float | None:
    """The mean over all voxels with a label."""
    voxels, total = 0, 0.0
    for look in cases.values():
        for value, means in look.means.items():
            if value not in (0, left_out) and look.label is not None and len(means) > channel:
                voxels += (count := look.label.values.get(value, 0))
                total += count * means[channel]
    return total / voxels if voxels else None


def _labels_elsewhere(cases: Cases, description: Description) -> Iterator[str]:
    """Cases whose label shows no contrast where it is clear and steady in the others: it may belong to another image,
    or be turned."""
    found: dict[str, str] = {}
    for name, value in description.labels.items():
        for number in range(len(description.channels)):
            if name not in ("background", "ignore") and isinstance(value, int):
                contrasts = {case: c for case, look in cases.items() if (c := _contrast(look, value, number))}
                found |= dict.fromkeys(_without(contrasts), clean(name))
    if found:
        yield (
            f"labels that lie on something else than in the other cases: {told(sorted(found.items()))}. They may be "
            "swapped, turned or shifted, or the image holds only noise: look at them."
        )


def _contrast(look: CaseLook, value: int, channel: int) -> float | None:
    """How much brighter a label is than the background, as a share of the image's range."""
    inside, outside = look.means.get(value, ()), look.means.get(0, ())
    quantiles = look.images[channel].quantiles if len(look.images) > channel else None
    if quantiles is None or len(inside) <= channel or len(outside) <= channel or quantiles[2] <= quantiles[0]:
        return None
    return (inside[channel] - outside[channel]) / (quantiles[2] - quantiles[0])


def _without(contrasts: dict[str, float]) -> list[str]:
    """The cases without the contrast that all others have."""
    if len(contrasts) < FEWEST_CONTRASTS:
        return []
    usual = median(contrasts.values())
    deviation = median(abs(contrast - usual) for contrast in contrasts.values())
    if abs(usual) < CONTRAST or deviation > STEADY * abs(usual):
        return []
    return [case for case, contrast in contrasts.items() if contrast / usual < FAINT]

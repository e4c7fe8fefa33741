"""What is wrong with a dataset's images: problems that break or falsify a training, and warnings, each with its fix."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from ...nnunet.dataset_json import Description
from ...schemas.datasets import CaseLook, LabelLook
from ...texts import clean, some, told
from .case_checks import Expected, Kind, check_case, spacing
from .looks import Looks

MOST_PROBLEMS = 2800  # characters
MOST_WARNINGS = 1500
# Times the usual 99.5th percentile; scanners differ by less than this.
FAR, FEWEST_TO_COMPARE = 20.0, 3
RARE_CASES = 5
MANY_CASES = 10
FACTOR = 5.0
LEAST_MM, MOST_MM = 0.01, 30.0
CT_AIR = -900.0
EIGHT_BITS = 255.0


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
    whole = list(_about_all(looks, description, counted=not {Kind.UNDECLARED, Kind.FRACTIONS} & set(grouped)))
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
    odd = [*_duplicates(cases), *_misnamed_channels(cases, description), *_other_scales(cases, description)]
    if looks.reader in ("simpleitk", "nibabel"):
        odd += _odd_spacings(cases)
    yield from ((False, text) for text in odd)


def _presence(cases: dict[str, CaseLook], description: Description) -> Iterator[tuple[bool, str]]:
    labels = [look.label for look in cases.values() if look.label is not None and not look.label.error]
    if not labels:
        return
    if not any(value != 0 for label in labels for value in label.values):
        yield True, "no label file has anything but background, so there is nothing to learn. Check labelsTr."
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
    same: dict[object, list[str]] = defaultdict(list)
    for name, look in sorted(cases.items()):
        if look.images and all(image.digest and image.lowest != image.highest for image in look.images):
            same[tuple((image.digest, image.shape) for image in look.images)].append(name)
    groups = [" = ".join(clean(name) for name in names[:3]) for names in same.values() if len(names) > 1]
    if groups:
        yield (
            f"cases with the same image under several names: {some(groups)}. Keep one of each, or the validation "
            "measures what was trained on."
        )


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


def _misnamed_channels(cases: dict[str, CaseLook], description: Description) -> Iterator[str]:
    """Check channel names against values: the name chooses the normalisation (map_channel_name_to_normalization.py)."""
    for number, name in enumerate(description.channels):
        images = [look.images[number] for look in cases.values() if len(look.images) > number]
        lows = [image.lowest for image in images if image.lowest is not None]
        highs = [image.highest for image in images if image.highest is not None]
        if not lows or not highs:
            continue
        if name.lower() == "ct" and min(lows) >= 0 and max(highs) <= EIGHT_BITS:
            yield (
                f"channel {number} is called CT, but its values are {min(lows):g} to {max(highs):g}, which are no "
                "Hounsfield units. Export the CT unscaled, or name the channel otherwise."
            )
        if "mr" in name.lower() and median(lows) <= CT_AIR and median(highs) > 0:
            yield (
                f"channel {number} is called {clean(name)}, but its values look like Hounsfield units. If it is a CT, "
                "call it CT: the name chooses the normalisation."
            )


def _other_scales(cases: dict[str, CaseLook], description: Description) -> Iterator[str]:
    """CT cases whose values are of another order than the others': all cases share one clipping and one scale."""
    for number, name in enumerate(description.channels):
        images = {case: look.images[number] for case, look in cases.items() if len(look.images) > number}
        highs = {case: image.quantiles[2] for case, image in images.items() if image.quantiles is not None}
        usual = median(highs.values()) if len(highs) >= FEWEST_TO_COMPARE else 0.0
        far = [(case, f"{high:.6g}") for case, high in sorted(highs.items()) if high > FAR * usual > 0]
        if far and name.lower() == "ct":
            yield (
                f"CT values on another scale: {told(far)}, by the 99.5th percentile; {usual:.6g} is usual. Correct "
                "them: nnU-Net clips and normalises a CT by all cases."
            )

"""The part of the methods on data: what they are, how they were divided, and what nnU-Net's preprocessing did.

Numbers of axes are in the order of the plans, after `transpose_forward`. Sources: nnunetv2 2.8.1,
preprocessing/preprocessors/default_preprocessor.py:55-100, preprocessing/normalization, preprocessing/resampling.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from ...nnunet.summary import NO_AXIS
from ...texts import clean, first, fold_name, numbered
from .subjects import Subject
from .wording import by, listed, number

# Keys of dataset.json, in the words of the report.
GIVEN = {
    "description": "{}",
    "reference": "source {}",
    "licence": "licence {}",
    "license": "licence {}",
    "release": "release {}",
}
MOST_NAMED, MOST_SAID = 40, 500  # names in a sentence, characters of a text
# nnunetv2 2.8.1, configuration.py: the ratio of spacings from which an axis is resampled by itself.
ANISOTROPIC = 3


def data(subject: Subject) -> str:
    """Cases, channels, classes."""
    channels = subject.description.get("channel_names") or {}
    labels = {name: value for name, value in (subject.description.get("labels") or {}).items() if value not in (0, [0])}
    cases = cases_of(subject)
    if not channels or not labels or cases is None:
        return ""
    ignored = labels.pop("ignore", None)
    kind = "region" if any(isinstance(value, list) for value in labels.values()) else "foreground class"
    plural = f"{kind}{'es' if kind.endswith('s') else 's'}" if len(labels) > 1 else kind
    seen, named = (listed(first(names, MOST_NAMED)) for names in ([*channels.values()], [*labels]))
    text = (
        f"The dataset {subject.files.name} had {numbered(cases, 'training case')} with "
        f"{numbered(len(channels), 'channel')} ({seen}) and {len(labels)} {plural} ({named})."
    )
    unlabelled = " Voxels with the ignore label counted neither in the loss nor in a metric."
    return text if ignored is None else f"{text}{unlabelled}"


def cases_of(subject: Subject) -> int | None:
    """How many cases the dataset has, as the folds began with them, else as dataset.json counts them."""
    known = frozenset[str]().union(*(fold.every for fold in subject.begun.values()))
    counted = subject.description.get("numTraining")
    return len(known) or (counted if isinstance(counted, int) else None)


def source(subject: Subject) -> str:
    """What dataset.json says of its origin, as a sentence."""
    told = origin(subject)
    return f"As given with the data: {told}." if told else ""


def origin(subject: Subject) -> str:
    """What dataset.json says of its origin."""
    known = {key: " ".join(str(found).split()) for key in GIVEN if (found := subject.description.get(key))}
    given = {key: clean(text, MOST_SAID) for key, text in known.items()}
    return "; ".join(words.format(given[key]) for key, words in GIVEN.items() if key in given)


def split(subject: Subject) -> str:
    """Which cases were trained on and which were held out."""
    if subject.is_of_every_case:
        return "One model was trained on every case; no case was held out."
    if not subject.split:
        return ""
    whose = f"the split ({subject.split})"
    if subject.is_cross_validation:
        return (
            f"A cross-validation was carried out over {whose}: each of the {len(subject.scores.cases)} cases was "
            "predicted by the model of the fold that had held it out."
        )
    return f"Of {whose} {listed(_fold(subject, fold) for fold in subject.scores.folds)}."


def _fold(subject: Subject, fold: str) -> str:
    begun = subject.begun.get(fold)
    held = len(subject.scores.folds[fold])
    trained = f"was trained on {len(begun.train)} cases and " if begun else ""
    return f"fold {fold_name(fold)} {trained}validated on {held}"


def sizes(subject: Subject) -> str:
    """Median size and spacing of the images."""
    axes = subject.plans.get("transpose_forward")
    shapes, spacings = subject.fingerprint.get("shapes_after_crop"), subject.fingerprint.get("spacings")
    if not isinstance(axes, list) or not shapes or not spacings:
        return ""
    shape, spacing = _medians(shapes, axes), _medians(spacings, axes)
    if are_pictures(subject):
        return f"The images had a median size of {by(shape[1:])} pixels."
    return f"The images had a median size of {by(shape)} voxels with a median spacing of {by(spacing)} mm."


def are_pictures(subject: Subject) -> bool:
    """Whether the images lack an axis and a spacing."""
    least, *_, most = sorted((subject.fingerprint.get("spacings") or [[1.0, 1.0]])[0])
    return bool(most > NO_AXIS * least)


def spacing(subject: Subject) -> str:
    """To which images are resampled; "" for pictures, which are left as they are."""
    return "" if are_pictures(subject) else f"{by(subject.planned['spacing'])} mm"


def _medians(values: Sequence[Sequence[float]], axes: Sequence[int]) -> list[float]:
    found = [statistics.median(axis) for axis in zip(*values, strict=True)]
    return [found[axis] for axis in axes]


def preprocessing(subject: Subject) -> str:
    """Cropping and resampling."""
    function, crop = subject.planned["resampling_fn_data"], "Images were cropped to the region of nonzero voxels"
    if function == "no_resampling_hack" or are_pictures(subject):
        return f"{crop} and not resampled."
    plane = " in the plane of the slices" if len(subject.planned["spacing"]) == 2 else ""
    return f"{crop} and resampled to {spacing(subject)}{plane} ({', '.join(_resampling(subject))})."


def _resampling(subject: Subject) -> Iterator[str]:
    for part, what in (("data", "images"), ("seg", "labels")):
        name = str(subject.planned.get(f"resampling_fn_{part}"))
        options = subject.planned.get(f"resampling_fn_{part}_kwargs") or {}
        if not name.startswith("resample_data_or_seg"):
            yield f"{what} with nnU-Net's {name}"
        else:
            yield f"{what} with splines of order {options.get('order', 3)}{_between_slices(subject, options, what)}"


def _between_slices(subject: Subject, options: dict[str, Any], what: str) -> str:
    """How the axis of the largest spacing is resampled (default_resampling.py:38-72)."""
    forced = options.get("force_separate_z")
    if forced is False or what != "images" or len(subject.planned["spacing"]) == 2:  # slices stay apart as they are
        return ""
    ratio = options.get("separate_z_anisotropy_threshold", ANISOTROPIC)
    when = "" if forced else f" where spacings differ more than {number(ratio)}-fold"
    return f", of order {options.get('order_z', 0)} across slices{when}"


def normalization(subject: Subject) -> str:
    """What was done to the intensities of each channel."""
    schemes = subject.planned.get("normalization_schemes")
    names = [str(name) for name in (subject.description.get("channel_names") or {}).values()]
    if not isinstance(schemes, list) or len(schemes) != len(names):
        return ""
    told = [_scheme(subject, number, scheme) for number, scheme in enumerate(schemes)]
    if "" in told:
        return ""
    parts = told[:1] if len(set(told)) == 1 else [f"{name}: {how}" for name, how in zip(names, told, strict=True)]
    each = " in each channel" if len(names) > 1 else ""
    return f"Before resampling, intensities were normalised{each}: {'; '.join(parts)}."


def _scheme(subject: Subject, channel: int, scheme: str) -> str:
    """One channel's normalization (default_normalization_schemes.py)."""
    masks = subject.planned.get("use_mask_for_norm") or []
    if scheme == "ZScoreNormalization":
        where = "of its nonzero region" if channel < len(masks) and masks[channel] else ""
        return f"z-score by each image's mean and standard deviation {where}".rstrip()
    if scheme == "CTNormalization":
        return _ct(subject, channel)
    return {
        "NoNormalization": "none",
        "RescaleTo01Normalization": "scaled from each image's minimum and maximum to 0–1",
        "RGBTo01Normalization": "divided by 255",
    }.get(scheme, "")


def _ct(subject: Subject, channel: int) -> str:
    properties = subject.plans.get("foreground_intensity_properties_per_channel") or {}
    found = properties.get(str(channel)) or {}
    if not {"percentile_00_5", "percentile_99_5", "mean", "std"} <= found.keys():
        return ""
    low, high, mean, sd = (number(found[key]) for key in ("percentile_00_5", "percentile_99_5", "mean", "std"))
    return (
        f"clipped to {low} and {high} (0.5th and 99.5th percentile of the foreground of the training cases), minus "
        f"{mean}, divided by {sd} (their mean and standard deviation)"
    )

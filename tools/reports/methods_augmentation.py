"""The part of the methods on data augmentation: nnU-Net's list of transforms, as debug.json has it, in words.

Source: batchgeneratorsv2, whose transforms write themselves with all their arguments.
"""

import math
import re
from collections.abc import Callable, Mapping

from .subjects import Subject
from .wording import axes_in, listed, number

LONGEST = 100_000
WHOLE, ONE_OF = "ComposeTransforms( transforms = [", "OneOfTransform( list_of_transforms = ["
NUMPY = re.compile(r"np\.float64\(([^()]*)\)")
TRANSFORM = re.compile(
    r"(?:RandomTransform\(p=(?P<p>[\d.]+), transform=)?(?P<name>[A-Z]\w{0,80})\( (?P<arguments>[^\n]*?) \)"
)
ARGUMENT = re.compile(r"(?<!\w)(\w{1,60}) = (?:BGContrast\(contrast_range=)?(\([^()]*\)|[^ ,]+)")
NUMBER = re.compile(r"-?\d[\d.e-]*")
# These prepare the data for the network and vary nothing.
TECHNICAL = (
    *("RemoveLabelTransform", "RemoveLabelTansform", "DownsampleSegForDSTransform", "MoveSegAsOneHotToDataTransform"),
    *(
        "ConvertSegmentationToRegionsTransform",
        "MaskImageTransform",
        "Convert3DTo2DTransform",
        "Convert2DTo3DTransform",
    ),
)
Arguments = Mapping[str, str]


def augmentation(subject: Subject) -> str:
    """The random transforms with their probabilities."""
    text = subject.debug.get("dataloader_train.generator.transforms", "")
    if not text.startswith(WHOLE) or len(text) > LONGEST:
        return ""
    every = TRANSFORM.finditer(NUMPY.sub(r"\1", text.removeprefix(WHOLE).replace(ONE_OF, "")))
    found = [(one["name"], one["p"], dict(ARGUMENT.findall(one["arguments"]))) for one in every]
    told = [words for name, p, given in found if name not in TECHNICAL and (words := _told(name, p, given))]
    if not told:
        return "Training patches were not augmented."
    slices = " slice by slice" if "Convert3DTo2DTransform" in text else ""
    one = "; of alternatives one was drawn" if ONE_OF in text else ""
    return f"Training patches were augmented at random{slices} (probabilities in brackets{one}): {listed(told)}."


def _told(name: str, p: str | None, given: Arguments) -> str:
    words = WORDS[name](given) if name in WORDS else _split(name)
    return f"{words} ({number(p)})" if p and words else words


def _split(name: str) -> str:
    """Of a transform without words of its own, its name in words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.removesuffix("Transform")).lower()


def _spatial(given: Arguments) -> str:
    kinds = {
        "elastic deformation": given["p_elastic_deform"],
        f"rotation{_degrees(given['rotation'])}": given["p_rotation"],
        f"scaling{_range(given, 'scaling')}": given["p_scaling"],
    }
    return ", ".join(f"{words} ({number(p)})" for words, p in kinds.items() if float(p))


def _degrees(angles: str) -> str:
    found = [round(math.degrees(float(value))) for value in NUMBER.findall(angles)]
    if len(found) != 2:
        return ""
    return f" by ±{found[1]}°" if found[0] == -found[1] else f" by {found[0]}° to {found[1]}°"


def _range(given: Arguments, name: str, preposition: str = "by") -> str:
    found = NUMBER.findall(given.get(name, ""))
    return f" {preposition} {number(found[0])}–{number(found[1])}" if len(found) == 2 else ""


def _gamma(given: Arguments) -> str:
    inverted = " of the inverted image" if float(given.get("p_invert_image", 0)) == 1 else ""
    return f"gamma{_range(given, 'gamma', 'of')}{inverted}"


def _mirroring(given: Arguments) -> str:
    axes = axes_in(given.get("allowed_axes", ""))
    return f"mirroring along {axes}" if axes else ""


WORDS: dict[str, Callable[[Arguments], str]] = {
    "SpatialTransform": _spatial,
    "GaussianNoiseTransform": lambda given: f"Gaussian noise{_range(given, 'noise_variance', 'of variance')}",
    "GaussianBlurTransform": lambda given: f"Gaussian blur{_range(given, 'blur_sigma', 'of σ')}",
    "MultiplicativeBrightnessTransform": lambda given: f"brightness{_range(given, 'multiplier_range')}",
    "ContrastTransform": lambda given: f"contrast{_range(given, 'contrast_range')}",
    "SimulateLowResolutionTransform": lambda given: f"simulated low resolution{_range(given, 'scale')}",
    "GammaTransform": _gamma,
    "MirrorTransform": _mirroring,
    "ApplyRandomBinaryOperatorTransform": lambda _: "morphological operators on the first stage's segmentation",
    "RemoveRandomConnectedComponentFromOneHotEncodingTransform": lambda _: "removal of its components",
}

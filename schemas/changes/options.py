"""The table of all that `options` of a prediction can say. A row is the whole of a name: the schema's text, the
documents and the checks come from it. Sources: nnunetv2 2.8.1, inference/predict_from_raw_data.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .values import SWITCH, Choice, Folds, Number, Values
from .words import in_words as in_words, read_words


@dataclass(frozen=True)
class Option:
    """A name: its values, the one that counts where it is not given, what it means."""

    name: str
    values: Values
    usual: str
    meaning: str
    of_voxels: bool = True  # the segmentations differ


OPTIONS = {
    row.name: row
    for row in (
        Option(
            "mirroring",
            SWITCH,
            "on",
            "Test-time augmentation: the mean over the image and its mirror images, along the axes of the training. "
            "off computes a quarter (2D) to an eighth (3D), less accurately. nnU-Net: on.",
        ),
        Option(
            "step_size",
            # Up to 1 by compute_steps_for_sliding_window; at 0.1 a volume takes 125 times as long as at 0.5.
            Number("0.1", "1"),
            "0.5",
            "How far the window moves, as a part of the patch: more is faster and less accurate. nnU-Net: 0.5.",
        ),
        Option(
            "folds",
            Folds(),
            "",
            "Only these trained folds, whose logits are averaged. nnU-Net: all of the cross-validation.",
        ),
        Option(
            "checkpoint",
            Choice({"final": "checkpoint_final.pth", "best": "checkpoint_best.pth"}),
            "final",
            "Weights at the end of the training, or of its best epoch by the estimated Dice. nnU-Net: final.",
        ),
        Option(
            "uncertainty",
            SWITCH,
            "off",
            "Rank the cases by how uncertain the model is: entropy, and the disagreement of several folds.",
            of_voxels=False,
        ),
        Option(
            "parts",
            Number("1", "64", whole=True),
            "1",
            "Split the cases into so many parts that predict at the same time, each on a GPU or in a Slurm job of its "
            "own. nnU-Net: 1.",
            of_voxels=False,
        ),
    )
}


def read_options(words: Iterable[str]) -> dict[str, str]:
    """The values by name that differ from nnU-Net's own, in the order of the table and in one spelling.

    Raises:
        ValueError: an unknown name, a wrong value, or a name that is given twice; it says what there is.
    """
    found = read_words(words, OPTIONS, "is no option of a prediction")
    return {name: value for name, value in found.items() if value != OPTIONS[name].usual}


def of_voxels(options: Mapping[str, str]) -> dict[str, str]:
    """Those by which the segmentations differ."""
    return {name: value for name, value in options.items() if OPTIONS[name].of_voxels}


def value_of(options: Mapping[str, str], name: str) -> str:
    """What counts: the value that is given, or the usual one."""
    return options.get(name, OPTIONS[name].usual)

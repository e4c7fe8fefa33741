"""Which training cases a dataset folder has, and what is wrong with its files, without opening an image."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ..runs.datasets import CHANNEL
from ..runs.texts import some
from .description import Description


@dataclass
class CaseFiles:
    """The files of imagesTr and labelsTr by case."""

    images: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    unnumbered: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)


def list_cases(folder: Path, ending: str) -> CaseFiles:
    """Read the two folders' listings."""
    found = CaseFiles()
    for name in _names(folder / "imagesTr", ending):
        match = CHANNEL.fullmatch(name)
        if match is None:
            found.unnumbered.append(name)
        else:
            found.images[match["case"]].add(int(match["channel"]))
    found.labels = set(_names(folder / "labelsTr", ending))
    return found


def _names(folder: Path, ending: str) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name.removesuffix(ending) for p in folder.iterdir() if p.name.endswith(ending) and p.name[0] != ".")


def file_problems(folder: Path, description: Description) -> list[str]:
    """What nnU-Net would stumble over, each with the cases and the way out."""
    if "dataset" in description.content:
        return []
    files = list_cases(folder, description.file_ending)
    ending = description.file_ending
    if not files.images and not files.unnumbered:
        return [f"imagesTr has no {ending} files. Put the training images there as CASE_0000{ending}."]
    problems = []
    if files.unnumbered:
        problems.append(
            f"images without a channel number (CASE_0000{ending}): {some(files.unnumbered)}. Import the folder with "
            "nnunet_prepare_dataset under a free id, or rename them."
        )
    wanted = set(range(len(description.channels)))
    problems += _channel_problems(files, wanted)
    if missing := sorted(set(files.images) - files.labels):
        problems.append(f"no label file in labelsTr for: {some(missing)}. Add CASE{ending}, or remove the images.")
    if extra := sorted(files.labels - set(files.images) - set(files.unnumbered)):
        problems.append(f"no image in imagesTr for the labels: {some(extra)}. Add the images, or remove the labels.")
    return problems


def _channel_problems(files: CaseFiles, wanted: set[int]) -> list[str]:
    wrong = {case: channels for case, channels in files.images.items() if channels != wanted}
    if not wrong:
        return []
    case, channels = next(iter(sorted(wrong.items())))
    return [
        f"dataset.json declares the channels {sorted(wanted)}; {len(wrong)} cases have others, for example {case} has "
        f"{sorted(channels)}. Add the missing images, or correct channel_names."
    ]

"""The two folders of a prediction: the images to segment, and whose predictions the output folder holds."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from ..calls import argument
from ..errors import Refused
from ..files import read_model
from ..schemas.changes.options import in_words, of_voxels
from ..schemas.jobs import PredictionJob
from ..texts import NAMED, fold_name, some
from .datasets import CHANNEL, FoldFiles, one_file_of_colours
from .postprocessing import read_steps

NOTE = "nnunet_mcp_prediction.json"
PARTS = "parts"
FEW = 8  # files of a case; a series has hundreds


@dataclass(frozen=True)
class TrainedOn:
    """What images a model takes: the names of their channels, and the ending."""

    channels: tuple[str, ...]
    ending: str

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "TrainedOn":
        """As the model's dataset.json says."""
        named = description.get("channel_names") or description.get("modality") or {}
        channels = tuple(str(named[key]) for key in sorted(named, key=lambda key: (len(str(key)), str(key))))
        return cls(channels, str(description.get("file_ending", ".nii.gz")))


class PredictionNote(BaseModel):
    """Our note in an output folder: which model predicted which images, from which files each case was made, and why
    the last prediction left some out."""

    model: str
    folds: tuple[str, ...]
    run: str = ""  # the last one that predicted into it
    postprocessing: str = ""
    images: str = ""
    checkpoints: tuple[str, ...] = ()
    options: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    cases: dict[str, str] = Field(default_factory=dict)


def note_of(job: PredictionJob) -> PredictionNote:
    """The note for a new prediction, without its cases."""
    steps = read_steps(Path(job.postprocessing)) if job.postprocessing else ()
    used = [
        FoldFiles(Path(step.model) / f"fold_{fold}").checkpoint(step.checkpoint)
        for step in job.steps.values()
        for fold in step.folds
    ]
    return PredictionNote(
        model=" + ".join(job.models),
        folds=job.folds,
        postprocessing=str(list(steps)) if steps else "",
        images=job.images,
        checkpoints=tuple(identity([path]) for path in dict.fromkeys(used)),  # all parts use the same
        options=of_voxels(job.options),
    )


def identity(paths: Iterable[Path]) -> str:
    """A text that changes when one of the files is written again; no file is read."""
    found = [path.stat() for path in paths]
    text = " ".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in found)
    return text if len(found) <= FEW else hashlib.sha256(text.encode()).hexdigest()


def inputs_of(images: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """The identity of each case's images."""
    return {case: identity(files) for case, files in images.items()}


def note_file(output: Path) -> Path:
    """Our note in an output folder."""
    return output / NOTE


def part_folder(output: Path, name: str) -> Path:
    """The folder of one model's predictions until the ensemble is made; it is removed at the end."""
    return output / PARTS / name


def _numbers(folder: Path, ending: str) -> dict[str, dict[int, Path]]:
    """The images named CASE_0000 by case and number."""
    found: dict[str, dict[int, Path]] = {}
    for path in folder.iterdir():
        match = CHANNEL.fullmatch(path.name.removesuffix(ending)) if path.name.endswith(ending) else None
        if match and not path.name.startswith("."):
            found.setdefault(match["case"], {})[int(match["channel"])] = path
    return found


def is_numbered(folder: Path, trained: TrainedOn) -> bool:
    """Whether images are named as nnU-Net names them; the number of amos_0001 is the case's."""
    wanted = set(range(len(trained.channels)))
    found = [set(files) for files in _numbers(folder, trained.ending).values()]
    return bool(found) and (wanted in found or all(numbers <= wanted for numbers in found))


def cases_to_predict(folder: Path, trained: TrainedOn) -> dict[str, list[Path]]:
    """The cases in a folder of images, each with the files of all its channels in order.

    Raises:
        Refused: there are none, or a case lacks a channel; the message names it.
    """
    found, ending = _numbers(folder, trained.ending), trained.ending
    if not found:
        others = sorted(path.name for path in folder.iterdir())[:NAMED]
        has = f"It has {', '.join(others)}." if others else "It is empty."
        raise Refused(f"{folder} has no images named CASE_0000{ending}, as the model needs them. {has}")
    _refuse_lacking({case: set(files) for case, files in found.items()}, ending, len(trained.channels))
    return {case: [files[number] for number in sorted(files)] for case, files in sorted(found.items())}


def _refuse_lacking(found: Mapping[str, set[int]], ending: str, channels: int) -> None:
    colours = one_file_of_colours(ending, channels)
    whole = [set(range(channels)), *([{0}] if colours else [])]
    lacking = sorted(case for case, there in found.items() if there not in whole)
    if lacking:
        wanted = some([f"_{number:04d}{ending}" for number in range(channels)], FEW)
        raise Refused(
            f"The model was trained with {channels} channel(s), so each case needs {wanted}"
            f"{f', or all its colours in one file, _0000{ending}' * colours}. Not so: {some(lacking)}."
        )


def refuse_foreign(output: Path, note: PredictionNote, *, overwrite: bool) -> None:
    """Check that an output folder is new, or holds predictions of this model, as it is now, for these images.

    Raises:
        Refused: it has files, and they are others; those of the model before it was trained again may be overwritten.
    """
    if not output.is_dir() or not any(output.iterdir()):
        return
    there = read_model(note_file(output), PredictionNote)
    if there is None:
        raise Refused(f"{output} has files that are no predictions of this model. Choose an empty or a new folder.")
    other = "Choose another folder with output."
    if there.images != note.images:
        raise Refused(f"{output} holds predictions of the images in {there.images or 'an unknown folder'}. {other}")
    if (there.model, there.folds, there.postprocessing) != (note.model, note.folds, note.postprocessing):
        raise Refused(
            f"{output} holds predictions of {there.model}, folds {', '.join(map(fold_name, there.folds))}"
            f"{', with another postprocessing' if there.model == note.model else ''}. {other}"
        )
    if there.options != note.options:
        made = ", ".join(in_words(there.options)) or "nnU-Net's own options"
        raise Refused(f"{output} holds predictions with {made}, and these would differ. {other}")
    if there.checkpoints != note.checkpoints and not overwrite:
        raise Refused(
            f"{output} holds predictions of {there.model} before it was trained again. {other} "
            f"{argument(overwrite=True)} predicts them all again."
        )

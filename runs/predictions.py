"""What a prediction needs to know of its two folders: the cases to segment, and who wrote the output."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from .datasets import CHANNEL
from .errors import Refused
from .files import read_model
from .texts import NAMED, some

NOTE = "nnunet_mcp_prediction.json"
PARTS = "parts"


class PredictionNote(BaseModel):
    """Which model an output folder belongs to."""

    model: str
    folds: tuple[str, ...]
    postprocessing: str = ""


def note_of(models: Sequence[str], folds: tuple[str, ...], steps: Sequence[object]) -> PredictionNote:
    """The note for predictions of these models with these postprocessing steps."""
    return PredictionNote(model=" + ".join(models), folds=folds, postprocessing=str(list(steps)) if steps else "")


def note_file(output: Path) -> Path:
    """Our note in an output folder."""
    return output / NOTE


def part_folder(output: Path, name: str) -> Path:
    """Where a model's predictions wait to be put together; it is gone when all is done."""
    return output / PARTS / name


def cases_to_predict(folder: Path, ending: str, channels: int) -> list[str]:
    """The cases in a folder of images, each with all its channels.

    Raises:
        Refused: there are none, or a case lacks a channel; the message names it.
    """
    found: dict[str, set[int]] = {}
    for path in folder.iterdir():
        match = CHANNEL.fullmatch(path.name.removesuffix(ending)) if path.name.endswith(ending) else None
        if match and not path.name.startswith("."):
            found.setdefault(match["case"], set()).add(int(match["channel"]))
    if not found:
        others = sorted(path.name for path in folder.iterdir())[:NAMED]
        has = f"It has {', '.join(others)}." if others else "It is empty."
        raise Refused(f"{folder} has no images named CASE_0000{ending}, as the model needs them. {has}")
    lacking = sorted(case for case, there in found.items() if there != set(range(channels)))
    if lacking:
        wanted = ", ".join(f"_{number:04d}{ending}" for number in range(channels))
        raise Refused(
            f"The model was trained with {channels} channel(s), so each case needs {wanted}. Not so: {some(lacking)}."
        )
    return sorted(found)


def refuse_foreign(output: Path, note: PredictionNote) -> None:
    """An output folder holds the predictions of one model.

    Raises:
        Refused: it has files, and they are not this model's.
    """
    if not output.is_dir() or not any(output.iterdir()):
        return
    there = read_model(note_file(output), PredictionNote)
    if there is None:
        raise Refused(f"{output} has files that are no predictions of this model. Choose an empty or a new folder.")
    if there != note:
        raise Refused(
            f"{output} holds predictions of {there.model}, folds {', '.join(there.folds)}"
            f"{', with another postprocessing' if there.model == note.model else ''}. Choose another folder."
        )

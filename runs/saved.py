"""Up to which epoch a checkpoint goes: noted beside it when it is saved, so that nobody has to unpickle it.

<fold folder>/nnunet_mcp_saved.json     a line for each checkpoint that lies there
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ..files import read_model, write_model
from ..nnunet.datasets import FoldFiles
from ..schemas.base import Record


class Saved(Record):
    """A checkpoint, known by its name and its time."""

    file: str
    changed_ns: int
    epochs: int = Field(description="Epochs that it holds; a resume goes on with the next one.")
    sound: bool = Field(description="Whether its weights are numbers.")


class SavedNote(Record):
    """The checkpoints of a fold folder."""

    checkpoints: tuple[Saved, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint that a resume takes; without a note on it, its epochs are unknown."""

    path: Path
    epochs: int | None
    sound: bool


def note_saved(fold: FoldFiles, written: Path, file: str, *, epochs: int, sound: bool) -> None:
    """Note a checkpoint that is written, before it is renamed to `file`, which keeps its time."""
    known = [one for one in _noted(fold) if _lies_there(fold, one)]
    new = Saved(file=file, changed_ns=written.stat().st_mtime_ns, epochs=epochs, sound=sound)
    write_model(_note_file(fold), SavedNote(checkpoints=(*known, new)))


def newest_checkpoint(fold: FoldFiles) -> Checkpoint | None:
    """The checkpoint from which a resume goes on; None where there is none."""
    found = fold.checkpoints()
    if not found:
        return None
    known = next((one for one in _noted(fold) if one.file == found[0].name and _lies_there(fold, one)), None)
    return Checkpoint(found[0], known.epochs if known else None, known.sound if known else True)


def _note_file(fold: FoldFiles) -> Path:
    return fold.path / "nnunet_mcp_saved.json"


def _noted(fold: FoldFiles) -> tuple[Saved, ...]:
    note = read_model(_note_file(fold), SavedNote)
    return note.checkpoints if note else ()


def _lies_there(fold: FoldFiles, one: Saved) -> bool:
    try:
        return (fold.path / one.file).stat().st_mtime_ns == one.changed_ns
    except OSError:
        return False

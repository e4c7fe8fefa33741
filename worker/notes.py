"""Notes of a stage for its result, kept in its folder until the outcome is written."""

from collections.abc import Iterable
from pathlib import Path

from ..files import write_text
from ..runs.layout import StageDir

RESUMED, COMPILE, TRANSFER = "resumed", "compile", "transfer"


def write_notes(stage: StageDir, about: str, notes: Iterable[str]) -> None:
    """Write one note per line, in place of what an earlier attempt wrote on the same subject."""
    write_text(_file(stage, about), "".join(f"{note}\n" for note in notes))


def read_notes(stage: StageDir) -> list[str]:
    """All notes of the stage."""
    files = (_file(stage, about) for about in (RESUMED, COMPILE, TRANSFER))
    return [line for file in files if file.is_file() for line in file.read_text(encoding="utf-8").splitlines()]


def _file(stage: StageDir, about: str) -> Path:
    return stage.path / f"{about}.txt"

"""What a stage has to say beside its result, kept in its folder until the outcome is written."""

from collections.abc import Iterable
from pathlib import Path

from ..files import write_text
from ..runs.layout import StageDir

RESUMED, COMPILE = "resumed", "compile"


def write_notes(stage: StageDir, about: str, notes: Iterable[str]) -> None:
    """A note in each line, in place of what an earlier attempt said about it."""
    write_text(_file(stage, about), "".join(f"{note}\n" for note in notes))


def read_notes(stage: StageDir) -> list[str]:
    """All notes of the stage."""
    files = (_file(stage, about) for about in (RESUMED, COMPILE))
    return [line for file in files if file.is_file() for line in file.read_text(encoding="utf-8").splitlines()]


def _file(stage: StageDir, about: str) -> Path:
    return stage.path / f"{about}.txt"

"""Label values that dataset.json does not declare: how many voxels, and where. nnU-Net names only the file."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ...files import read_json
from ...nnunet.datasets import label_files, training_files
from ..stage import StageFailure

SHOWN_FILES = 3


@dataclass(frozen=True)
class Undeclared:
    """One value in one label file; `voxel` is the first such voxel as (x, y, z), counted from 0."""

    file: str
    value: float
    voxels: int
    voxel: tuple[int, ...]

    def __str__(self) -> str:
        where = ", ".join(map(str, self.voxel))
        return f"{self.file}: value {self.value:g} in {self.voxels} voxels, the first at ({where})"


def refuse_undeclared_labels(raw: Path) -> None:
    """Raise what is known of undeclared values; return if there are none, or if nnU-Net's own error has to say it.

    Raises:
        StageFailure: there are some.
    """
    failure = None
    with suppress(Exception):  # of damaged files nnU-Net's own error says more
        failure = _failure(raw)
    if failure:
        raise failure


def _failure(raw: Path) -> StageFailure | None:
    description = read_json(raw / "dataset.json") or {}
    labels = description.get("labels", {})
    declared = _values(labels)
    ending = str(description.get("file_ending", ""))
    files = [path for path in label_files(raw).values() if path.name.endswith(ending)]
    found = [one for path in files for one in _undeclared(raw, path, description, declared)]
    if not found:
        return None
    count = len({one.file for one in found})
    more = f"; and {count - SHOWN_FILES} more files" if count > SHOWN_FILES else ""
    values = ", ".join(f"{value:g}" for value in sorted({one.value for one in found}))
    return StageFailure(
        f"label files have values that dataset.json does not declare: {values}",
        f"{'; '.join(map(str, found[:SHOWN_FILES]))}{more}. dataset.json declares "
        f"{', '.join(map(str, sorted(declared)))}; voxels are (x, y, z), counted from 0",
        f"If they are mistakes, correct these voxels. {_as_a_class(declared, 'ignore' in labels)}"
        if any(isfinite(one.value) for one in found)
        else "Correct these voxels: they hold no numbers.",
    )


def _as_a_class(declared: set[int], ignore: bool) -> str:
    """How to declare one more class; nnU-Net wants ignore as the highest (2.8.1, label_handling.py:41)."""
    number = max(declared, default=0) + (not ignore)
    if ignore:
        return (
            f"If they are a class, declare it as {number} and ignore as {number + 1} (ignore is the highest, labels "
            "have no gaps), and write these in the label files, both at once."
        )
    return f"If they are a class, declare it as {number} (labels have no gaps) and write {number} in the label files."


def _values(labels: dict[str, Any]) -> set[int]:
    listed = [value if isinstance(value, list) else [value] for value in labels.values()]
    return {value for values in listed for value in values if isinstance(value, int)}


def _undeclared(raw: Path, path: Path, description: dict[str, Any], declared: set[int]) -> Iterator[Undeclared]:
    import numpy
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    example = str(next(iter(training_files(raw)), path))
    reader: Any = determine_reader_writer_from_dataset_json(description, example, verbose=False)
    voxels = reader().read_seg(str(path))[0][0]
    for value in set(numpy.unique(voxels).tolist()) - declared:
        places = numpy.argwhere(numpy.isnan(voxels) if numpy.isnan(value) else voxels == value)
        first = tuple(int(axis) for axis in places[0][::-1])  # nnU-Net's readers turn the axes to z, y, x
        yield Undeclared(path.name, value, len(places), first)

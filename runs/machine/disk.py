"""Whether there is enough disk space, estimated from the sizes of the raw files before hours are spent."""

import os
import shutil
from pathlib import Path

from ...errors import Unavailable
from ...nnunet.datasets import DatasetFiles, training_files

# Preprocessed data are float32, compressed; raw images mostly int16, compressed (Hippocampus: 2.6 times the raw size).
PREPROCESSED_PER_RAW_BYTE = 4.0
# Three checkpoints of a usual six-stage network are about 0.75 GB; small networks need far less.
FOLD_BYTES = 100 * 1024**2
# Kept free by an import, for files that are written besides.
SPARE_BYTES = 100 * 1024**2


def raw_bytes(files: DatasetFiles) -> int:
    """Size of the training images and labels."""
    return sum(path.stat().st_size for path in training_files(files.raw))


def room_needed(files: DatasetFiles, *, preprocesses: bool, folds: int) -> dict[Path, float]:
    """Bytes that a run will write, by folder."""
    needed: dict[Path, float] = {Path(files.folders.results): folds * FOLD_BYTES}
    if preprocesses:
        needed[Path(files.folders.preprocessed)] = PREPROCESSED_PER_RAW_BYTE * raw_bytes(files)
    return needed


def refuse_without_room(needed: dict[Path, float]) -> None:
    """Compare the bytes to be written to each folder with the free space.

    Raises:
        Unavailable: too little is free, or a folder cannot be written; the message names the folder.
    """
    for folder, size in needed.items():
        if not os.access(folder, os.W_OK):
            raise Unavailable(f"{folder} cannot be written. Make it writable, or choose another folder for it.")
        free = shutil.disk_usage(folder).free
        if free < size:
            raise Unavailable(
                f"This will write about {size / 1e9:.2f} GB to {folder}; {free / 1e9:.2f} GB are free. Free some "
                "space, or move the folder to a larger disk."
            )

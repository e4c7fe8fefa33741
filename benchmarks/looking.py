"""How long a look into a dataset takes, against reading its files once in as many threads, alternating.

    python benchmarks/looking.py [--cases 1000] [--rounds 3]

Images of 128³ voxels, 16 bits, compressed; few different ones under many names, so that the disk is not measured.
"""

import argparse
import gzip
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy
import SimpleITK

from nnunet_mcp.nnunet.dataset_json import read_description
from nnunet_mcp.nnunet.datasets import find_dataset
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.looks import look_into
from nnunet_mcp.worker.resources import usable_cores

DIFFERENT, SIZE = 8, 128
DESCRIPTION = """{"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}, "numTraining": 1,
"file_ending": ".nii.gz"}"""


def write_cases(raw: Path, cases: int) -> None:
    """Noisy images with a smooth background as scanners make them, and a ball as label."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    (raw / "dataset.json").write_text(DESCRIPTION, encoding="utf-8")
    z, y, x = numpy.ogrid[:SIZE, :SIZE, :SIZE]
    ball = (z - 64) ** 2 + (y - 64) ** 2 + (x - 64) ** 2 < 30**2
    for number in range(cases):
        image, label = raw / f"imagesTr/c{number:04d}_0000.nii.gz", raw / f"labelsTr/c{number:04d}.nii.gz"
        if number >= DIFFERENT:
            os.link(raw / f"imagesTr/c{number % DIFFERENT:04d}_0000.nii.gz", image)
            os.link(raw / f"labelsTr/c{number % DIFFERENT:04d}.nii.gz", label)
            continue
        values = numpy.random.default_rng(number).normal(0, 20, ball.shape) + 3 * z - 2 * y + 200 * ball
        nibabel.save(nibabel.Nifti1Image(values.astype(numpy.int16), numpy.eye(4)), image)
        nibabel.save(nibabel.Nifti1Image(ball.astype(numpy.uint8), numpy.eye(4)), label)


def decompress(path: Path) -> None:
    """All bytes of a file, checksum included."""
    with gzip.open(path) as stream:
        while stream.read(1 << 20):
            pass


def read_as_nnunet(path: Path) -> None:
    """The voxels as nnU-Net's reader gets them (imageio/simpleitk_reader_writer.py:39-84)."""
    SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(numpy.float32)


def main() -> None:
    """Make the images, then measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    taken: dict[str, list[float]] = {"the look": [], "gzip alone": [], "nnU-Net's reader": []}
    with tempfile.TemporaryDirectory() as workspace:
        settings = Settings.model_validate({n: Path(workspace) / n for n in ("raw", "preprocessed", "results")})
        settings.create_folders()
        raw = settings.folder("raw") / "Dataset007_Look"
        write_cases(raw, options.cases)
        paths = sorted(raw.glob("*Tr/*.gz"))
        for _ in range(options.rounds):
            taken["the look"].append(look(settings))
            taken["gzip alone"].append(in_threads(paths, decompress))
            taken["nnU-Net's reader"].append(in_threads(paths, read_as_nnunet))
    base = statistics.median(taken["gzip alone"])
    print(f"{options.cases} cases, median of {options.rounds} rounds.\n")
    print("| | s | ms a case | ratio |\n|---|---:|---:|---:|")
    for what, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"| {what} | {middle:.1f} | {1000 * middle / options.cases:.0f} | {middle / base:.2f} |")


def look(settings: Settings) -> float:
    """Seconds of a look at every case, with the start of its process; nothing is known before."""
    for kept in (settings.state_dir / "looks").glob("*"):
        kept.unlink()
    files = find_dataset(settings.folders, 7)
    begun = time.perf_counter()
    found = look_into(files, read_description(files.raw), settings, budget_s=3600)
    assert found.complete
    return time.perf_counter() - begun


def in_threads(paths: list[Path], read: Callable[[Path], None]) -> float:
    """Seconds to read all files, in as many threads as the look uses."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(min(4, usable_cores())) as pool:
        list(pool.map(read, paths))
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()

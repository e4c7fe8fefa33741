"""An import that is killed, whenever that is, leaves the whole dataset or none, and nothing in the way of the next."""

import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel
import numpy
import pytest

from nnunet_mcp.settings import Settings
from tests.kit.lab import until
from tests.kit.tiny import digest

CASES = 100
NAME = "Dataset007_Killed"


def files_there(count: int) -> Callable[[Path], bool]:
    return lambda raw: len(list(raw.glob(".importing-*/*Tr/*"))) >= count


def described(raw: Path) -> bool:
    return any(raw.glob(".importing-*/dataset.json")) or (raw / NAME).exists()


def came(moment: Callable[[Path], bool], raw: Path, process: "subprocess.Popen[str]") -> bool:
    return moment(raw) or process.poll() is not None


MOMENTS = [files_there(count) for count in (0, 1, CASES // 2, CASES, 2 * CASES - 1)] + [described]


@pytest.mark.heavy
def test_a_kill_at_any_moment_leaves_the_whole_dataset_or_none(settings: Settings, downloads: Path) -> None:
    for number in range(CASES):
        voxels = numpy.random.default_rng(number).integers(0, 900, (6, 7, 8)).astype(numpy.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, numpy.eye(4)), downloads / f"p{number}.nii")
        nibabel.save(
            nibabel.Nifti1Image((voxels > 500).astype(numpy.uint8), numpy.eye(4)), downloads / f"p{number}_seg.nii"
        )
    before, raw = digest(downloads), settings.folder("raw")
    said = [str(downloads), "7", "Killed", "--images", "{case}.nii", "--labels", "{case}_seg.nii"]
    command = [sys.executable, "-m", "nnunet_mcp", "prepare", *said]

    for moment in MOMENTS:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        reached = until(partial(came, moment, raw, process))
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        assert reached and (process.returncode == -signal.SIGKILL or (raw / NAME).exists()), output
        if (raw / NAME).exists():
            break
        assert digest(downloads) == before

    if not (raw / NAME).exists():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((raw / NAME / "imagesTr").iterdir())) == len(list((raw / NAME / "labelsTr").iterdir())) == CASES
    assert [path.name for path in raw.iterdir()] == [NAME] and digest(downloads) == before

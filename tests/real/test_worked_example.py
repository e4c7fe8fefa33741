"""The README's worked example, for real: Hippocampus MRI from raw data to a prediction and a picture."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy
import pytest

from tests.kit.lab import FEW, Lab, msd_subset

pytestmark = pytest.mark.long
EXAMPLE = Path(__file__).parents[2] / "examples" / "from_raw_data_to_prediction.py"
TEST_CASES = 2


def test_the_worked_example_runs_as_written_on_real_data(hippocampus: Path, tmp_path: Path) -> None:
    source = msd_subset(hippocampus, tmp_path / "Task04_Hippocampus", cases=8)
    (source / "imagesTs").mkdir()
    for path in sorted((hippocampus / "imagesTs").glob("hippocampus_*"))[:TEST_CASES]:
        shutil.copy(path, source / "imagesTs")
    lab = Lab(tmp_path / "work", FEW)
    words = ["--source", str(source), "--dataset", "4", "--name", "Hippocampus", "--device", "cpu"]
    short = ("epochs=2", "iterations=2", "val_iterations=1")
    quick = [*(word for change in short for word in ("--change", change)), "--picture", str(tmp_path / "overlay.png")]

    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *words, *quick], env=lab.environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Anterior: Dice" in done.stdout and f"{TEST_CASES} images of imagesTs are segmented" in done.stdout
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")
    output = Path(done.stdout.split("are segmented in ")[1].splitlines()[0])
    for image in sorted((source / "imagesTs").iterdir()):
        predicted = nibabel.load(output / image.name)
        assert predicted.shape == nibabel.load(image).shape
        assert set(numpy.unique(numpy.asarray(predicted.dataobj))) <= {0, 1, 2}

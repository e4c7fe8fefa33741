"""A picture of a huge volume costs little memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import SimpleITK

from nnunet_mcp.settings import Settings
from tests.kit.phantom import write_phantom
from tests.tools.plots.test_plots import DATASET, make_run, predict, validate

HUGE = """
import resource, sys
from tests.tools.plots.test_huge_volumes import huge_case
from tests.tools.plots.test_plots import RUN, plot
from nnunet_mcp.settings import Settings
settings = Settings()
huge_case(settings)
before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
plot(settings, run_id=RUN, kind="overlay")
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def huge_case(settings: Settings) -> None:
    """A CT of 512 x 512 x 400 voxels, 210 MB, with its labels and a prediction."""
    folder = settings.folder("raw") / DATASET
    write_phantom(folder, cases=1, shape=(8, 8, 8))
    truth = numpy.zeros((400, 512, 512), "uint8")
    truth[150:250, 200:300, 200:300] = 1
    image = SimpleITK.GetImageFromArray(truth)
    SimpleITK.WriteImage(image, str(folder / "labelsTr/case_000.nii.gz"), False)
    validate(make_run(settings), {"case_000": 0.5})
    predict(settings, "case_000", lambda labels: numpy.roll(labels, 5, axis=1))
    ct = SimpleITK.Cast(image, SimpleITK.sitkInt16)
    SimpleITK.WriteImage(ct, str(folder / "imagesTr/case_000_0000.nii.gz"), False)


@pytest.mark.heavy
def test_a_huge_volume_is_drawn_in_bounded_memory(tmp_path: Path) -> None:
    folders = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    environment = {**os.environ, **folders}

    done = subprocess.run([sys.executable, "-c", HUGE], env=environment, capture_output=True, text=True, check=True)

    assert float(done.stdout.split()[-1]) < 800

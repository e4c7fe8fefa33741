"""What nnU-Net will plan, told before anything is preprocessed, is what it then plans."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy
import pytest

from nnunet_mcp.nnunet.dataset_json import read_description
from nnunet_mcp.nnunet.datasets import find_dataset
from nnunet_mcp.nnunet.trainers import PLANNERS
from nnunet_mcp.schemas.datasets import PrepareRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.importing import nnunet_prepare_dataset
from nnunet_mcp.tools.data.looks import look_into
from nnunet_mcp.tools.training.plans_ahead import PRESETS, looked_at, plans_ahead

pytestmark = pytest.mark.heavy

OF_NNUNET = """
import sys
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments
if __name__ == "__main__":
    extract_fingerprints([7], num_processes=2)
    for planner in sys.argv[1:]:
        plan_experiments([7], planner)
"""


@pytest.fixture
def dataset(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """Dataset 7, in the form that the parameter names."""
    raw = settings.folder("raw")
    if request.param == "hippocampus":
        source: Path = request.getfixturevalue("hippocampus")
        monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(source))
        wanted = PrepareRequest(source=str(source), dataset_id=7, name="Real")
        nnunet_prepare_dataset(wanted, Settings(), lambda done, total: None)
    elif request.param == "nuclei":
        shutil.copytree(request.getfixturevalue("nuclei"), raw / "Dataset007_Real")
    else:
        _with_empty_borders(raw / "Dataset007_Real")
    return str(request.param)


def _with_empty_borders(folder: Path) -> None:
    """Two channels that are zero in other places, of unequal spacings; zero is stored as 20."""
    random = numpy.random.default_rng(0)
    for number in range(4):
        whole = numpy.full((2, 150, 160, 24), 20, numpy.int16)
        whole[0, 30 + number : 120, 40:150, 3:20] = random.integers(21, 200, (90 - number, 110, 17))
        whole[1, 50:130, 20 : 100 - number, 5:22] = random.integers(21, 200, (80, 80 - number, 17))
        for channel, voxels in enumerate(whole):
            made = nibabel.Nifti1Image(voxels, numpy.diag([0.8, 0.9, 4 + 0.1 * number, 1]))
            made.header.set_slope_inter(0.5, -10)
            _save(made, folder / "imagesTr" / f"c{number}_{channel:04d}.nii.gz")
        label = (whole[0] > 100).astype(numpy.uint8)
        _save(nibabel.Nifti1Image(label, made.affine), folder / "labelsTr" / f"c{number}.nii.gz")
    text = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "high": 1}, "numTraining": 4}
    (folder / "dataset.json").write_text(json.dumps({**text, "file_ending": ".nii.gz"}), encoding="utf-8")


def _save(image: nibabel.Nifti1Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


@pytest.mark.parametrize("dataset", ["hippocampus", "nuclei", "empty borders"], indirect=True)
def test_every_preset_is_planned_ahead_as_nnunet_plans_it(settings: Settings, dataset: str, tmp_path: Path) -> None:
    files = find_dataset(settings.folders, 7)
    description = read_description(files.raw)
    images = looked_at(files, description, look_into(files, description, settings, budget_s=120))
    assert images is not None

    ahead = plans_ahead(images, PRESETS, settings, wait_s=120)

    (tmp_path / "plan.py").write_text(OF_NNUNET, encoding="utf-8")
    command = [sys.executable, "-P", str(tmp_path / "plan.py"), *PLANNERS.values()]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    fingerprint = json.loads(files.fingerprint_file.read_text(encoding="utf-8"))
    assert [list(shape) for shape in images.shapes] == fingerprint["shapes_after_crop"]
    assert images.relative_size == pytest.approx(fingerprint["median_relative_size_after_cropping"])
    assert ahead is not None and set(ahead.plans) == set(PLANNERS)
    for plans, found in ahead.plans.items():
        real = (files.plans(plans) or {})["configurations"]
        assert set(found) == set(real)
        for name in set(real) - {"3d_cascade_fullres"}:
            assert list(found[name].patch_size) == real[name]["patch_size"]
            assert found[name].batch_size == real[name]["batch_size"]
            assert list(found[name].median_shape) == real[name]["median_image_size_in_voxels"]

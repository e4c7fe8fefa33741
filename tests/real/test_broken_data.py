"""Broken data end in an error that names the case, and a second try works once they are mended."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy
import psutil
import pytest

from nnunet_mcp.runs.layout import StateDir
from tests.kit.lab import Lab, ToolRefused, hippocampus_lab, until

pytestmark = pytest.mark.heavy
REQUEST: dict[str, Any] = {"dataset_id": 4, "configuration": "2d", "fold": "0", "device": "cpu"}
Damage = Callable[[Path, Path], None]


@pytest.fixture
def lab(tmp_path: Path, hippocampus: Path) -> Lab:
    return hippocampus_lab(tmp_path, hippocampus)


def undeclared_label(image: Path, label: Path) -> None:
    found = nibabel.load(label)
    values = numpy.asarray(found.dataobj).astype(numpy.uint8)
    values[0, 0, 0] = 7
    nibabel.save(nibabel.Nifti1Image(values, found.affine), label)


def other_shape(image: Path, label: Path) -> None:
    found = nibabel.load(label)
    nibabel.save(nibabel.Nifti1Image(numpy.asarray(found.dataobj)[:-2].astype(numpy.uint8), found.affine), label)


def truncated(image: Path, label: Path) -> None:
    image.write_bytes(image.read_bytes()[:500])


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        pytest.param(undeclared_label, "7", id="a label value that dataset.json does not declare"),
        pytest.param(other_shape, "shape", id="a label of another shape"),
        pytest.param(truncated, "cannot be read", id="a truncated image"),
    ],
)
def test_a_broken_case_is_named_with_cause_and_remedy(lab: Lab, damage: Damage, cause: str) -> None:
    raw = lab.folder / "raw" / "Dataset004_Hippocampus"
    label = sorted((raw / "labelsTr").iterdir())[2]
    damage(raw / "imagesTr" / label.name.replace(".nii", "_0000.nii"), label)

    result = lab.train(**REQUEST, trainer="OneStepTrainer")

    assert result["status"] == "error"
    assert cause in result["failure"]["cause"].lower()
    assert label.name.split(".")[0] in json.dumps(result["failure"])
    assert result["failure"]["remedy"]


@pytest.mark.long
def test_after_mending_the_data_the_same_request_works(lab: Lab) -> None:
    raw = lab.folder / "raw" / "Dataset004_Hippocampus"
    label = sorted((raw / "labelsTr").iterdir())[0]
    shutil.copy(label, lab.folder / "good.nii.gz")
    undeclared_label(label, label)
    assert lab.train(**REQUEST, trainer="OneStepTrainer")["status"] == "error"

    shutil.copy(lab.folder / "good.nii.gz", label)

    assert lab.train(**REQUEST, trainer="OneStepTrainer")["status"] == "success"


def test_a_missing_label_file_is_refused_at_once(lab: Lab) -> None:
    label = sorted((lab.folder / "raw" / "Dataset004_Hippocampus" / "labelsTr").iterdir())[1]
    label.unlink()

    with pytest.raises(ToolRefused, match=f"no label file.*{label.name.split('.')[0]}"):
        lab.call("nnunet_training", **REQUEST)


def test_a_pool_process_that_is_killed_ends_the_stage_with_its_cause(lab: Lab) -> None:
    run_id = lab.call("nnunet_training", **REQUEST, trainer="OneStepTrainer")["run_id"]
    preprocess = StateDir(lab.settings.state_dir).run(run_id).stage("preprocess")

    def in_a_long_step() -> bool:
        progress = preprocess.progress()
        return progress is not None and progress.phase == "extracting the fingerprint" and bool(_pool_processes(lab))

    assert until(in_a_long_step, timeout_s=60)
    os.kill(_pool_processes(lab)[0].pid, signal.SIGKILL)
    result = lab.finish(run_id, timeout_s=60)

    assert result["status"] == "error"
    assert "helper process was killed" in result["failure"]["cause"]
    assert until(lambda: not lab.processes())


def _pool_processes(lab: Lab) -> list[psutil.Process]:
    """What the server of the pools has forked; elsewhere than on Linux, what was spawned."""
    found = []
    for process in lab.processes():
        try:
            parent = process.parent()
            forked = parent is not None and "forkserver" in " ".join(parent.cmdline())
            if forked or "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found

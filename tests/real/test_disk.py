"""A full disk ends in an error that names it, and nothing that existed is damaged. Real trainings, a small tmpfs."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lab import FEW, Lab, ToolRefused, msd_subset

pytestmark = pytest.mark.heavy
REQUEST: dict[str, Any] = {"dataset_id": 4, "configuration": "2d", "device": "cpu", "trainer": "OneStepTrainer"}
SMALL = 400 * 1024**2


@pytest.fixture
def lab(tmp_path: Path, hippocampus: Path) -> Iterator[Lab]:
    """The results and the run records lie on a small disk of their own."""
    lab = Lab(tmp_path / "work", FEW)
    results = lab.folder / "results"
    results.mkdir(parents=True)
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(results)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    source = msd_subset(hippocampus, tmp_path / "Task04", cases=5)
    lab.call("nnunet_prepare_dataset", source=str(source), dataset_id=4, name="Hippocampus")
    yield lab
    subprocess.run(["umount", "-l", str(results)], check=True)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Write until the disk is full, then give `leave` bytes back."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as stream:
        while True:
            stream.write(b"x" * 65536)
    os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler


def test_a_disk_without_room_is_refused_before_anything_starts(lab: Lab) -> None:
    fill(lab.folder / "results", leave=20 * 1024**2)

    with pytest.raises(ToolRefused, match=r"will write about .* GB to .*results"):
        lab.call("nnunet_training", **REQUEST, fold="0")


@pytest.mark.long
def test_a_disk_that_fills_up_is_named_and_after_freeing_it_the_same_request_works(lab: Lab) -> None:
    finished = lab.train(**REQUEST, fold="1")
    model = Path(finished["model_path"]) / "checkpoint_final.pth"
    before = model.read_bytes()
    run_id = str(lab.call("nnunet_training", **REQUEST, fold="0")["run_id"])
    lab.wait_for(run_id, lambda now: now["stage"] == "train_fold_0" and now["phase"] is not None)

    filler = fill(lab.folder / "results", leave=256 * 1024)
    ended = lab.wait_for(run_id, lambda now: now["status"] not in ("queued", "running"))
    filler.unlink()

    assert ended["status"] in ("error", "interrupted"), ended
    assert "disk" in ended["failure"]["cause"]
    assert model.read_bytes() == before
    assert lab.train(**REQUEST, fold="0", overwrite=True)["status"] == "success"

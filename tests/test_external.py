"""Trainings by hand: from the command line it is known which fold folder they write."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnunet_mcp.runs.external import external_trainings

MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"
SCRIPT = "print('up', flush=True)\ninput()\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    found = tmp_path / "nnUNetv2_train"
    found.write_text(SCRIPT, encoding="utf-8")
    return found


@pytest.fixture
def training(program: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Somebody's process with this command line, which has begun."""
    command = [sys.executable, str(program), *request.param.split()]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield
        process.kill()


def written(results: Path) -> set[str]:
    """The fold folders that are taken for being written, of many with a training log."""
    for dataset in ("Dataset000_X", "Dataset003_X", "Dataset004_X"):
        for model in (MODEL, "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres", "nnUNetTrainer__otherPlans__3d_fullres"):
            for fold in ("0", "3", "4", "all"):
                folder = results / dataset / model / f"fold_{fold}"
                folder.mkdir(parents=True)
                (folder / "training_log_2026.txt").touch()
    return {str(found.path.relative_to(results)) for found in external_trainings(results) if found.running}


@pytest.mark.parametrize(
    ("training", "fold"),
    [
        ("4 3d_fullres 0", f"Dataset004_X/{MODEL}/fold_0"),
        ("004 3d_fullres 4 --c", f"Dataset004_X/{MODEL}/fold_4"),
        ("Dataset003_X 3d_fullres all -num_gpus 4", f"Dataset003_X/{MODEL}/fold_all"),
        ("-device cpu 3 3d_fullres 4 --npz", f"Dataset003_X/{MODEL}/fold_4"),
        ("4 3d_fullres 0 -tr nnUNetTrainer_5epochs", f"Dataset004_X/nnUNetTrainer_5epochs__{MODEL[15:]}/fold_0"),
        ("4 3d_fullres 0 -p otherPlans --val", "Dataset004_X/nnUNetTrainer__otherPlans__3d_fullres/fold_0"),
        ("4 3d_fullres", None),
        ("-h", None),
    ],
    indirect=["training"],
)
@pytest.mark.usefixtures("training")
def test_a_training_by_hand_marks_the_one_folder_that_it_writes(fold: str | None, tmp_path: Path) -> None:
    assert written(tmp_path / "results") == ({fold} if fold else set())

"""Trainings by hand: from the command line it is known which fold folder they write."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnunet_mcp.runs.by_hand import ExternalTraining, external_trainings
from nnunet_mcp.settings import Settings
from tests.kit.tiny import ask

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


def log_of(results: Path, fold: str, text: str) -> Path:
    path = results / "Dataset003_X" / MODEL / f"fold_{fold}" / "training_log_2026.txt"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def by_fold(results: Path) -> dict[str, ExternalTraining]:
    return {found.path.name: found for found in external_trainings(results)}


@pytest.mark.parametrize("odd", [f": Epoch {'9' * 5000}", ": train_loss n/a", ": val_loss 0,5"])
def test_a_line_that_nnunet_does_not_write_is_passed_over(odd: str, settings: Settings) -> None:
    results = settings.folder("results")
    log_of(results, "0", f"now: Epoch 7\nnow: train_loss -0.5\nnow{odd}\n")

    found = by_fold(results)["fold_0"]

    assert (found.epoch, found.losses) == (7, {"train_loss": -0.5})
    assert len(ask(settings, "nnunet_runs")["runs"]) == 1


def test_a_log_that_is_no_file_hides_neither_its_fold_nor_another(settings: Settings) -> None:
    results = settings.folder("results")
    kept = log_of(results, "0", "now: Epoch 7\n")
    kept.with_name("training_log_2027.txt").symlink_to("nowhere")
    os.mkfifo(kept.with_name("training_log_2028.txt"))
    lost = log_of(results, "1", "")
    lost.unlink()
    lost.symlink_to(lost.name)  # a circle
    log_of(results, "2", "now: Epoch 8\n")

    assert {name: found.epoch for name, found in by_fold(results).items()} == {"fold_0": 7, "fold_2": 8}
    assert len(ask(settings, "nnunet_runs")["runs"]) == 2

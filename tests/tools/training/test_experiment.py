"""An experiment from the chat to a colleague: trained with `changes`, used by nnU-Net's own commands, exported."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_mcp.nnunet.datasets import FoldFiles
from tests.kit.lab import FEW, Lab, hippocampus_lab, until

pytestmark = pytest.mark.heavy
CHANGES = [
    "epochs=2",
    "iterations=2",
    "val_iterations=1",
    "loss=dice_topk",
    "seed=1",
    "patch_size=16x16x16",
    "batch_size=2",
]
NAME = "nnUNetTrainer_2epochs_2it_1valit_DiceTopk_seed1__nnUNetPlans_bs2_patch16x16x16__3d_fullres"
REQUEST: dict[str, Any] = {"dataset_id": 4, "configuration": "3d_fullres", "fold": "0", "device": "cpu"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, hippocampus: Path) -> Lab:
    """Five real cases; the training draws its patches itself, so that a seed decides them."""
    folder = tmp_path_factory.mktemp("experiment")
    return hippocampus_lab(folder, hippocampus, environment={**FEW, "nnUNet_n_proc_DA": "0"})


def losses(lab: Lab, run_id: str) -> list[Any]:
    text = (lab.run_dir(run_id) / "stages" / "train_fold_0" / "epochs.jsonl").read_text(encoding="utf-8")
    return [(line["train_loss"], line["val_loss"]) for line in map(json.loads, text.splitlines())]


def test_an_experiment_is_trained_repeated_exported_and_known_to_nnunets_own_commands(lab: Lab, tmp_path: Path) -> None:
    first = lab.train(**REQUEST, changes=CHANGES)
    assert first["status"] == "success", first
    model = lab.folder / "results" / "Dataset004_Hippocampus" / NAME
    saved = torch.load(FoldFiles(model / "fold_0").final, map_location="cpu", weights_only=False)
    assert saved["trainer_name"] == NAME.split("__")[0] and saved["current_epoch"] == 2
    configuration = saved["init_args"]["plans"]["configurations"]["3d_fullres"]
    assert (configuration["patch_size"], configuration["batch_size"]) == ([16, 16, 16], 2)
    assert (lab.folder / "preprocessed" / "Dataset004_Hippocampus" / "nnUNetPlans_3d_fullres").is_dir()

    ahead = {**REQUEST, "changes": ["patch_size=16x32x16", "epochs=300"]}
    assert until(lambda: "network" in lab.call("nnunet_preflight", **ahead), timeout_s=240)
    assert lab.call("nnunet_preflight", **ahead)["network"]["patch_size"] == [16, 32, 16]
    assert not (lab.folder / "preprocessed" / "Dataset004_Hippocampus" / "nnUNetPlans_patch16x32x16.json").exists()

    again = lab.train(dataset_id=4, like=first["run_id"], overwrite=True)
    assert again["status"] == "success" and losses(lab, again["run_id"]) == losses(lab, first["run_id"])

    trainers = lab.settings.state_dir / "trainers"
    entry = "from nnunetv2.run.run_training import run_training_entry as nnUNetv2_train; nnUNetv2_train()"
    command = [sys.executable, "-c", entry, "4", "3d_fullres", "0", "-device", "cpu", "--val"]
    command += ["-tr", NAME.split("__")[0], "-p", NAME.split("__")[1]]
    environment = {**lab.environment, "nnUNet_extTrainer": str(trainers)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and "Mean Validation Dice" in ended.stdout, ended.stderr[-2000:]

    exported = lab.call("nnunet_export_model", run_id=again["run_id"], output=str(lab.folder / "model.zip"))
    assert lab.finish(exported["run_id"])["status"] == "success"
    with zipfile.ZipFile(lab.folder / "model.zip") as archive:
        (inside,) = [name for name in archive.namelist() if name.endswith("checkpoint_final.pth")]
        given = torch.load(io.BytesIO(archive.read(inside)), map_location="cpu", weights_only=False)
    assert given["trainer_name"] == "nnUNetTrainer" and not any(name.endswith(".py") for name in archive.namelist())

"""Without changes a training is nnU-Net's own, bit by bit: our run beside nnUNetv2_train, with one seed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lab import FEW, Lab
from tests.kit.phantom import write_phantom

pytestmark = pytest.mark.heavy
# The entry point of the command nnUNetv2_train, which not every environment of ours has on its PATH.
TRAIN = "from nnunetv2.run.run_training import run_training_entry as train; train()"
DATASET, MODEL = "Dataset075_Seeded", "SeededTrainer__nnUNetPlans__3d_fullres"


def test_a_run_without_changes_has_the_losses_weights_and_dice_of_nnunets_own_command(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "work", {**FEW, "nnUNet_n_proc_DA": "0", "NNUNET_MCP_NICE": "0"})
    write_phantom(lab.folder / "raw" / DATASET, cases=6, shape=(32, 32, 32))
    asked: dict[str, Any] = {
        "dataset_id": 75,
        "configuration": "3d_fullres",
        "fold": "0",
        "trainer": "SeededTrainer",
        "device": "cpu",
    }
    result = lab.train(**asked, changes=[])
    assert result["status"] == "success", result

    results = tmp_path / "nnU-Net's own"
    command = [sys.executable, "-c", TRAIN, "75", "3d_fullres", "0", "-tr", "SeededTrainer", "-device", "cpu"]
    own = lab.environment | {"nnUNet_results": str(results)}
    subprocess.run(command, env=own, check=True, capture_output=True, timeout=600)

    ours, theirs = (folder / DATASET / MODEL / "fold_0" for folder in (lab.folder / "results", results))
    compare_training(checkpoint(ours), checkpoint(theirs))
    summaries = [json.loads((fold / "validation" / "summary.json").read_bytes()) for fold in (ours, theirs)]
    assert summaries[0]["foreground_mean"] == summaries[1]["foreground_mean"]
    assert [case["metrics"] for case in summaries[0]["metric_per_case"]] == [
        case["metrics"] for case in summaries[1]["metric_per_case"]
    ]
    assert result["metrics"]["dice"] == pytest.approx(summaries[1]["foreground_mean"]["Dice"], abs=1e-6)


def checkpoint(fold: Path) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = torch.load(fold / "checkpoint_final.pth", map_location="cpu", weights_only=False)
    return found


def compare_training(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every number that nnU-Net logs but the times, and every weight."""
    import torch

    names = [name for name in theirs["logging"] if "timestamp" not in name]
    assert {"train_losses", "val_losses", "ema_fg_dice", "lrs"} <= {*names}
    for name in names:
        assert str(ours["logging"][name]) == str(theirs["logging"][name]), name
    assert len(theirs["logging"]["train_losses"]) == 2
    assert ours["network_weights"].keys() == theirs["network_weights"].keys()
    assert all(torch.equal(held, theirs["network_weights"][name]) for name, held in ours["network_weights"].items())

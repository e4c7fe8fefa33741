"""A report on a real training: its numbers are those of nnU-Net's trainer, and the file is whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lab import FEW, Lab
from tests.kit.phantom import write_phantom

pytestmark = pytest.mark.heavy
CHANGES = ["epochs=1", "iterations=2", "val_iterations=1", "patch_size=16x16x16", "loss=dice_topk", "initial_lr=0.003"]
# What nnU-Net builds from a model's own files.
BUILD = """
import json, sys, torch
from pathlib import Path
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find

folder = Path(sys.argv[1])
plans, description = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
plans["continue_training"] = False
trainer = find(folder.name.split("__")[0])(plans, "3d_fullres", 0, description, torch.device("cpu"))
trainer.initialize()
first = trainer.optimizer.param_groups[0]
print(json.dumps({
    "network": type(trainer.network).__name__,
    "parameters": sum(weights.numel() for weights in trainer.network.parameters()),
    "loss": type(trainer.loss.loss).__name__,
    "optimizer": type(trainer.optimizer).__name__,
    "numbers": [first["momentum"], first["initial_lr"], first["weight_decay"]],
    "patch": trainer.configuration_manager.patch_size,
    "steps": [trainer.num_epochs, trainer.num_iterations_per_epoch],
}))
"""


def built(lab: Lab, model: Path) -> dict[str, Any]:
    """What nnU-Net's trainer object says of itself."""
    trainers = {"nnUNet_extTrainer": str(lab.settings.state_dir / "trainers")}
    environment = {**lab.environment, **trainers}
    done = subprocess.run([sys.executable, "-c", BUILD, model], env=environment, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return found


def test_the_paragraph_says_of_a_real_training_what_nnunets_trainer_says(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "work", FEW)
    write_phantom(tmp_path / "work" / "raw" / "Dataset007_Phantom", cases=5, shape=(32, 32, 32))
    try:
        result = lab.train(dataset_id=7, configuration="3d_fullres", fold="0", changes=CHANGES, device="cpu")
    finally:
        lab.stop()
    assert result["status"] == "success", result["failure"]

    answer = lab.call("nnunet_report", run_ids=[result["run_id"]])
    trainer = built(lab, Path(result["model_path"]).parent)

    text, html = answer["methods"], Path(answer["file"]).read_text(encoding="utf-8")
    assert (trainer["network"], trainer["loss"], trainer["optimizer"]) == ("PlainConvUNet", "DC_and_topk_loss", "SGD")
    momentum, rate, decay = trainer["numbers"]
    epochs, iterations = trainer["steps"]
    for said in (
        f"({trainer['network']})",
        f"{trainer['parameters']:,} trainable parameters",
        "sum of soft Dice loss (over the foreground classes, pooled over the batch, with a smoothing term of 1e-5) and "
        "the cross-entropy of the hardest 10 % of voxels",
        f"(Nesterov momentum {momentum:g}) with an initial learning rate of {rate:g}, weight decay {decay:g};",
        f"patches of {' × '.join(map(str, trainer['patch']))} voxels",
        f"{epochs} epoch of {iterations} iterations ({epochs * iterations} steps)",
    ):
        assert said in text and said.replace("'", "&#39;") in html
    assert answer["not_known"] == ["source of the data"]
    assert html.count('<img src="data:image/png;base64,') == 3, "curves, Dice of the cases, the only case"
    assert str(tmp_path) not in html and "case_00" not in html

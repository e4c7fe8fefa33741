"""A training that starts from a checkpoint of nnssl, where the installed nnU-Net adapts such (its main branch)."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch

from nnunet_mcp.nnunet.installed import installed
from tests.kit.lab import FEW, Lab, call
from tests.kit.tiny import make_dataset

PYTHON = os.environ.get("NNUNET_MCP_WORKER_PYTHON", sys.executable)
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not installed(PYTHON).adapts_nnssl,
        reason="the installed nnU-Net has no nnUNetv2_train_pretrained, which its main branch brings",
    ),
]
REQUEST: dict[str, Any] = {"dataset_id": 1, "configuration": "3d_fullres", "fold": "0", "device": "cpu"}
# As good as none, so that the encoder stays what it was.
EPOCHS = 20
STILL = [f"epochs={EPOCHS}", "iterations=10", "val_iterations=1", "initial_lr=0.000000001"]
UNET = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
KWARGS: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 16],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_blocks_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
IMPORTED = ["conv_op", "norm_op", "nonlin"]


def adaptation_plan(architecture: str, kwargs: dict[str, Any] | None, **keys: Any) -> dict[str, Any]:
    """As nnssl writes it (its AdaptationPlan, and adaptation_plan.json beside OpenMind's checkpoints)."""
    imported = IMPORTED if kwargs else None
    configuration = {"spacing": [1.0, 1.0, 1.0], "patch_size": [32, 32, 16], "data_identifier": "onemmiso"}
    return {
        "architecture_plans": {
            "arch_class_name": architecture,
            "arch_kwargs": kwargs,
            "arch_kwargs_requiring_import": imported,
        },
        "pretrain_plan": {"plans_name": "nnsslPlans", "configurations": {"onemmiso": configuration}},
        "pretrain_num_input_channels": 1,
        "recommended_downstream_patchsize": [16, 16, 16],
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ("encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"),
        "key_to_lpe": None,
    } | keys


def pretrained(path: Path, **keys: Any) -> dict[str, torch.Tensor]:
    """Write a checkpoint of a small network in the published form; returns its tensors."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    torch.manual_seed(1)
    tensors: dict[str, torch.Tensor] = get_network_from_plans(UNET, KWARGS, IMPORTED, 1, 1, True, False).state_dict()
    cited = [{"type": "Pretraining Method", "name": "MAE", "apa_citations": ["He, K. et al. (2022)."]}]
    plan = adaptation_plan(UNET, KWARGS, **keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"network_weights": tensors, "nnssl_adaptation_plan": plan, "citations": cited}, path)
    return tensors


async def cancel_in_an_epoch(lab: Lab, run_id: str) -> None:
    """On one server: another takes seconds to start, in which such a training ends."""
    with anyio.fail_after(1200):
        async with lab.client() as client:
            while not (await call(client, "nnunet_progress", run_id=run_id, wait_s=2))["epoch"]:
                pass
            await call(client, "nnunet_cancel", run_id=run_id)


def told(lab: Lab, run_id: str) -> str:
    """What its stages noted."""
    files = (lab.run_dir(run_id) / "stages").glob("*/*.*")
    return " ".join(file.read_text(encoding="utf-8") for file in files if file.name in ("outcome.json", "transfer.txt"))


def epochs(lab: Lab, run_id: str) -> list[dict[str, Any]]:
    text = (lab.run_dir(run_id) / "stages" / "train_fold_0" / "epochs.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def final(lab: Lab, result: dict[str, Any]) -> dict[str, Any]:
    path = Path(result["model_path"]) / "checkpoint_final.pth"
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    return saved


def check_encoder(own: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    """The encoder is the checkpoint's, its first layer divided among the channels; the rest is not."""
    for name, tensor in given.items():
        alike = tensor.shape == own[name].shape and torch.allclose(own[name], tensor, atol=1e-6)
        if "stem" in name and tensor.shape != own[name].shape:
            assert torch.allclose(own[name], tensor.repeat(1, 2, 1, 1, 1) / 2, atol=1e-6)
        elif name.startswith(("encoder.", "decoder.encoder.")):
            assert alike, name
    assert not torch.allclose(own["decoder.transpconvs.0.weight"], given["decoder.transpconvs.0.weight"], atol=1e-3)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    extra = {**FEW, "nnUNet_n_proc_DA": "0", "NNUNET_MCP_WORKER_PYTHON": PYTHON}
    found = Lab(tmp_path / "work", extra)
    make_dataset(found.folder / "raw", "Dataset001_Tiny", channels=2)
    return found


def test_its_encoder_is_adapted_trained_resumed_without_it_and_predicts(lab: Lab) -> None:
    weights = lab.folder.parent / "OpenMind" / "checkpoint_final.pth"
    tensors = pretrained(weights)

    run_id = lab.call("nnunet_training", **REQUEST, pretrained_weights=str(weights), changes=STILL)["run_id"]
    anyio.run(cancel_in_an_epoch, lab, run_id)
    stopped = lab.finish(run_id)
    weights.unlink()
    result = lab.train(dataset_id=1, like=run_id, continue_training=True)

    assert (stopped["status"], result["status"]) == ("cancelled", "success"), (stopped, result)
    said = told(lab, run_id)
    assert "patch [16, 16, 16], spacing [1.0, 1.0, 1.0], batch 2, 2 channels (pretrained with 1, patch" in said
    assert f"tensors of the network were loaded from {weights.name} as they are, 1 adapted to channels" in said
    losses = [line["train_loss"] for line in epochs(lab, result["run_id"])]
    assert losses and all(math.isfinite(loss) for loss in losses)
    saved = final(lab, result)
    assert saved["current_epoch"] == EPOCHS and saved["trainer_name"].startswith("PretrainedTrainer_")
    check_encoder(saved["network_weights"], tensors)

    images = lab.folder / "raw" / "Dataset001_Tiny" / "imagesTr"
    predicted = lab.call("nnunet_predict", run_id=result["run_id"], images=str(images), device="cpu")
    assert lab.finish(predicted["run_id"])["status"] == "success"


def test_one_whose_tensors_are_not_of_its_network_is_refused_before_preprocessing(lab: Lab) -> None:
    weights = lab.folder.parent / "OpenMind" / "checkpoint_final.pth"
    pretrained(weights, key_to_stem="encoder.stem.convs")

    result = lab.train(**REQUEST, pretrained_weights=str(weights))

    assert result["status"] == "error" and "do not fit the network" in result["failure"]["cause"], result
    preprocessed = lab.folder / "preprocessed" / "Dataset001_Tiny"
    assert not list(preprocessed.glob("ptPlans*")) and not list(preprocessed.glob("Spacing*"))

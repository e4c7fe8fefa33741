"""Predictions of small networks with chance weights, by the real worker and by nnU-Net's own command."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest

from tests.kit.lab import FEW, Lab
from tests.kit.slurm_cluster import running_cluster, why_not
from tests.kit.tiny import make_dataset

DATASET = "Dataset097_Predicted"
MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"
# As nnU-Net's planner and trainer write them; every checkpoint has other weights.
MAKE_MODEL = """
import json, sys
from pathlib import Path
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

model = Path(sys.argv[1])
plans, description = (json.loads((model / f"{name}.json").read_text()) for name in ("plans", "dataset"))
manager = PlansManager(plans)
configuration = manager.get_configuration("3d_fullres")
for number, (fold, name) in enumerate((fold, name) for fold in (0, 1) for name in ("best", "final")):
    torch.manual_seed(number)
    network = nnUNetTrainer.build_network_architecture(
        manager, configuration, 1, manager.get_label_manager(description).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    folder = model / f"fold_{fold}"
    folder.mkdir(exist_ok=True)
    torch.save(
        {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres"},
            "inference_allowed_mirroring_axes": (0, 1, 2),
        },
        folder / f"checkpoint_{name}.pth",
    )
"""
THEIR_COMMAND = """
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
if __name__ == "__main__":
    predict_entry_point()
"""
PLANS: dict[str, Any] = {
    "dataset_name": DATASET,
    "plans_name": "nnUNetPlans",
    "original_median_spacing_after_transp": [2.0, 1.0, 1.5],
    "original_median_shape_after_transp": [24, 28, 20],
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "experiment_planner_used": "ExperimentPlanner",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {"0": {}},
}
RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
CONFIGURATION: dict[str, Any] = {
    "data_identifier": "nnUNetPlans_3d_fullres",
    "preprocessor_name": "DefaultPreprocessor",
    "batch_size": 2,
    "patch_size": [16, 16, 16],
    "median_image_size_in_voxels": [24.0, 28.0, 20.0],
    "spacing": [2.0, 1.0, 1.5],
    "normalization_schemes": ["ZScoreNormalization"],
    "use_mask_for_norm": [False],
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_seg": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": RESAMPLING,
    "resampling_fn_seg_kwargs": {**RESAMPLING, "is_seg": True, "order": 1},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {**RESAMPLING, "order": 1},
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2,
            "features_per_stage": [4, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * 2,
            "strides": [[1, 1, 1], [2, 2, 2]],
            "n_conv_per_stage": [1, 1],
            "n_conv_per_stage_decoder": [1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    },
    "batch_dice": False,
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A model of two folds, and five images of noise."""
    lab = Lab(tmp_path_factory.mktemp("predicting") / "work", FEW)
    folder = lab.folder / "results" / DATASET / MODEL
    folder.mkdir(parents=True)
    raw = make_dataset(lab.folder / "raw", DATASET, cases=2)
    (folder / "dataset.json").write_bytes((raw / "dataset.json").read_bytes())
    (folder / "plans.json").write_text(json.dumps({**PLANS, "configurations": {"3d_fullres": CONFIGURATION}}), "utf-8")
    subprocess.run([sys.executable, "-c", MAKE_MODEL, str(folder)], check=True, env=lab.environment)
    images = raw / "imagesTs"
    images.mkdir()
    for number in range(5):
        noise = numpy.random.default_rng(number).normal(size=(20, 28, 24)).astype(numpy.float32)
        nibabel.save(nibabel.Nifti1Image(noise, numpy.diag([1.5, 1, 2, 1])), images / f"case_{number}_0000.nii.gz")
    return lab


@pytest.fixture(scope="module")
def theirs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The segmentations by nnU-Net's own command with other options than its usual ones."""
    output = tmp_path_factory.mktemp("theirs")
    images = lab.folder / "raw" / DATASET / "imagesTs"
    command = [sys.executable, "-c", THEIR_COMMAND, "-i", str(images), "-o", str(output)]
    command += ["-d", "97", "-c", "3d_fullres", "-device", "cpu", "-npp", "1", "-nps", "1"]
    command += ["--disable_tta", "-step_size", "0.7", "-f", "1", "-chk", "checkpoint_best.pth"]
    subprocess.run(command, check=True, env=lab.environment, stdout=subprocess.DEVNULL)
    return segmentations(output)


def predict(lab: Lab, images: Path, *more: str) -> dict[str, Any]:
    """With the same options as `theirs`."""
    same = ["mirroring=off", "step_size=0.7", "folds=1", "checkpoint=best", *more]
    named = {"model": f"{DATASET}/{MODEL}", "images": str(images), "output": str(images.parent / "predicted")}
    result = lab.finish(lab.call("nnunet_predict", device="cpu", options=same, **named)["run_id"])
    assert result["status"] == "success", result
    return result


def segmentations(folder: Path) -> dict[str, Any]:
    return {path.name: numpy.asarray(nibabel.load(path).dataobj) for path in sorted(folder.glob("*.nii.gz"))}


def equal(found: dict[str, Any], theirs: dict[str, Any], *, without: str = "") -> bool:
    wanted = {name: voxels for name, voxels in theirs.items() if name != without}
    return list(found) == list(wanted) and all((found[name] == wanted[name]).all() for name in wanted)


@pytest.mark.heavy
def test_options_are_those_of_nnunets_own_command(lab: Lab, theirs: dict[str, Any]) -> None:
    """In two parts. One image is damaged, at which nnU-Net's command would end: it is left out by name, and predicted
    once it is mended."""
    images = lab.folder.parent / "new" / "images"
    shutil.copytree(lab.folder / "raw" / DATASET / "imagesTs", images)
    damaged = images / "case_2_0000.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-100])

    result = predict(lab, images, "parts=2")

    assert equal(segmentations(Path(result["predictions"])), theirs, without="case_2.nii.gz")
    said = " ".join(result["notes"])
    assert "Other than nnU-Net's own: mirroring=off, step_size=0.7, folds=1, checkpoint=best, parts=2." in said
    assert "4 cases, fold 1." in said and "Not predicted: case_2 (" in said

    damaged.write_bytes(whole)
    again = predict(lab, images)
    assert "4 of them were there already and were kept" in " ".join(again["notes"])
    assert equal(segmentations(Path(again["predictions"])), theirs)


@pytest.mark.long
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_parts_are_jobs_of_slurm(lab: Lab, theirs: dict[str, Any]) -> None:
    images = lab.folder.parent / "on slurm" / "images"
    shutil.copytree(lab.folder / "raw" / DATASET / "imagesTs", images)
    with running_cluster() as cluster:
        options = {"NNUNET_MCP_ENGINE": "slurm", "NNUNET_MCP_SLURM_OPTIONS": "partition=gpu cpus=1 memory=3G"}
        there = Lab(lab.folder, {**FEW, **cluster.environment, **options})
        result = predict(there, images, "parts=2")
        jobs = [name.split(":")[1] for name in cluster.jobs()]

    assert sorted(jobs) == ["gather", "predict_part_1", "predict_part_2"]
    assert equal(segmentations(Path(result["predictions"])), theirs)

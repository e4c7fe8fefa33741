"""The methods paragraph says what nnU-Net's files say, for each kind of training; what they do not say it names."""

import json
from typing import Any

import pytest

from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.reports.methods import methods
from nnunet_mcp.tools.reports.subjects import subject_of
from tests.tools.reports.trained import PARAMETERS, Trained

LS01 = "nnUNetTrainerTopk10LossLS01"
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
CT = {
    "channel_names": {"0": "CT"},
    "reference": "A hospital",
    "licence": "CC BY 4.0",
    "labels": {"background": 0, "organ": 1, "tumour": 2, "ignore": 3},
}
RESIDUAL = "residual_encoder_torchres"


def told(settings: Settings, trained: Trained) -> tuple[str, tuple[str, ...]]:
    found = methods(subject_of(trained.on_disk(settings), settings))
    return found.text, found.unknown


@pytest.mark.parametrize(
    ("trained", "said", "never"),
    [
        pytest.param(
            Trained(),
            [
                "A model was trained with nnU-Net v2 (Isensee et al., 2021), configuration 3d_fullres, plans "
                "nnUNetPlans, trainer nnUNetTrainer.",
                "Dataset005_Big had 9 training cases with 1 channel (MRI) and 2 foreground classes (organ and tumour).",
                "Of the split (3 folds, put beside the preprocessed data) fold 0 was trained on 6 cases and validated "
                "on 3.",
                "median size of 400 × 512 × 512 voxels with a median spacing of 1 × 0.8 × 0.8 mm",
                "resampled to 1 × 0.8 × 0.8 mm (images with splines of order 3, of order 0 across slices where "
                "spacings differ more than 3-fold, labels with splines of order 1)",
                "normalised: z-score by each image's mean and standard deviation.",
                "The 3D network was a U-Net (PlainConvUNet) with 6 resolution stages of 32, 64, 128, 256, 320 and 320 "
                "feature maps, 2 convolutions per stage of the encoder, 2 convolutions per stage of the decoder, "
                "kernels of 3 × 3 × 3, instance normalisation, LeakyReLU.",
                "patches of 112 × 160 × 128 voxels in batches of 2.",
                f"{PARAMETERS:,} trainable parameters",
                "sum of soft Dice loss (over the foreground classes, pooled over the batch, with a smoothing term of "
                "1e-5) and cross-entropy, with deep supervision",
                "stochastic gradient descent (Nesterov momentum 0.99) with an initial learning rate of 0.01, weight "
                "decay 3e-05; gradients were clipped to a norm of 12.",
                "as (1 − epoch/1000)^0.9.",
                "1000 epochs of 250 iterations (250,000 steps)",
                "Of the 2 patches of a batch 1 was centred on foreground",
                "rotation by ±30° (0.2), scaling by 0.7–1.4 (0.2), Gaussian noise of variance 0–0.1 (0.1)",
                "gamma of 0.7–1.5 of the inverted image (0.1), gamma of 0.7–1.5 (0.3) and mirroring along axes 0, 1 "
                "and 2.",
                "averaged over versions mirrored along axes 0, 1 and 2, with the weights after the last epoch",
                "No postprocessing was applied",
                "bootstraps with 10,000 draws of cases",
                "It ran with nnU-Net 2.8.1, PyTorch 2.14.1, Python 3.11.7 and nnunet-mcp 0.1.0.",
                "It was trained on a CPU",
                "Training took 12.5 h.",
            ],
            ["own", "resubstitution"],
            id="the default trainer in 3d",
        ),
        pytest.param(
            Trained("2d", debug="default 2d", run_id="d005-2d-f0-tttt", gpu="NVIDIA H100"),
            [
                "resampled to 0.8 × 0.8 mm in the plane of the slices (images with splines of order 3, labels",
                "The 2D network was",
                "8 resolution stages",
                "patches of 512 × 512 voxels in batches of 12",
                "Of the 12 patches of a batch 4 were centred",
                "rotation by ±180° (0.2)",
                "mirrored along axes 0 and 1,",
                "CUDA 13.0",
                "It was trained on NVIDIA H100.",
            ],
            ["across slices"],
            id="2d on a GPU",
        ),
        pytest.param(
            Trained("2d", debug="default 2d", run_id="d005-2d-f0-tttt", spacing=(999.0, 1.0, 1.0)),
            ["a median size of 512 × 512 pixels.", "cropped to the region of nonzero voxels and not resampled."],
            [" mm"],
            id="pictures",
        ),
        pytest.param(
            Trained(plans=RESIDUAL, noted={"network": "OptimizedModule"}),
            [
                "a U-Net with a residual encoder (ResidualEncoderUNet) with",
                "residual blocks per stage of the encoder, 1 convolution per stage of the decoder",
                "images with nnU-Net's resample_torch_fornnunet",
            ],
            ["splines", "OptimizedModule"],
            id="a residual encoder, compiled",
        ),
        pytest.param(
            Trained("3d_cascade_fullres", debug="cascade", run_id="d005-3d_cascade_fullres-f0-tttt"),
            [
                "of the cascade's first stage: 3d_lowres, a U-Net (PlainConvUNet) with 6 resolution stages",
                "trained on patches of 112 × 160 × 128 voxels at 2.288 × 1.83 × 1.83 mm.",
                "morphological operators on the first stage's segmentation (0.4)",
            ],
            [],
            id="a cascade",
        ),
        pytest.param(
            Trained(debug="regions", description=REGIONS),
            ["2 regions (whole and core)", "(over the regions, ", "binary cross-entropy of the regions"],
            ["foreground class"],
            id="regions",
        ),
        pytest.param(
            Trained(debug=LS01, trainer=LS01, asked={"trainer": LS01}),
            ["The loss was the cross-entropy of the hardest 10 % of voxels with label smoothing of 0.1, with deep"],
            ["Dice loss", "own"],
            id="a trainer of nnU-Net's with another loss",
        ),
        pytest.param(
            Trained(
                debug="nnUNetTrainerAdam1en3",
                trainer="nnUNetTrainer_8epochs_lr1en3_adamw_dice_ce_nosmooth",
                asked={"changes": ["epochs=8", "optimizer=adamw", "initial_lr=0.001", "loss=dice_ce_nosmooth"]},
                noted={"num_epochs": "8"},
                epochs=8,
            ),
            [
                "trainer nnUNetTrainer with epochs=8, initial_lr=0.001, optimizer=adamw, loss=dice_ce_nosmooth.",
                "without a smoothing term",
                "AdamW (betas (0.9, 0.999), AMSGrad) with an initial learning rate of 0.001, weight decay 3e-05",
                "(1 − epoch/8)^0.9",
                "8 epochs of 250 iterations (2,000 steps)",
            ],
            ["1e-5", "stochastic"],
            id="changes",
        ),
        pytest.param(
            Trained(trainer="nnUNetTrainer_seed7", asked={"changes": ["seed=7"]}),
            ["The weights were initialised at random with seed 7."],
            ["without a fixed seed"],
            id="a seed",
        ),
        pytest.param(
            Trained(debug="nnUNetTrainerCosAnneal", noted={"num_epochs": "50"}, epochs=20),
            ["fell to zero as a cosine over 50 epochs", "20 epochs of 50 planned of 250 iterations (5,000 steps)"],
            ["^0.9"],
            id="a cosine, cut short",
        ),
        pytest.param(
            Trained(debug="nnUNetTrainerDA5"),
            ["of alternatives one was drawn", "median filter (0.2)", "blank rectangle (0.4)"],
            [],
            id="more augmentation",
        ),
        pytest.param(
            Trained(debug="nnUNetTrainerNoDA"),
            ["Training patches were not augmented.", "Gaussian and without mirroring"],
            ["mirrored"],
            id="no augmentation",
        ),
        pytest.param(
            Trained(debug="nnUNetTrainerNoDeepSupervision"),
            ["and cross-entropy, at full resolution only."],
            ["deep supervision"],
            id="no deep supervision",
        ),
        pytest.param(
            Trained(
                trainer="MyTrainer",
                asked={"trainer": "MyTrainer"},
                noted={"network": "MyNetwork", "loss": "MyLoss(\n  (ce): RobustCrossEntropyLoss()\n)"},
            ),
            [
                "The 3D network was MyNetwork, which the trainer builds itself.",
                "What the trainer MyTrainer does in its own way, also to the network, is not described.",
                "The loss was the trainer's own (MyLoss of RobustCrossEntropyLoss).",
                "followed PolyLRScheduler over 1000 epochs",
            ],
            ["PlainConvUNet", "clipped", "^0.9", "deep supervision"],
            id="a trainer of the user's own",
        ),
        pytest.param(
            Trained(trainer="nnUNetTrainerBN", asked={"trainer": "nnUNetTrainerBN"}),
            ["The 3D network was planned as a U-Net (PlainConvUNet)", "its own way, also to the network, is not"],
            ["network was a"],
            id="a trainer of nnU-Net's that changes the network",
        ),
        pytest.param(
            Trained(folds=("0", "1", "2")),
            [
                "Models were trained with",
                "A cross-validation was carried out over the split (3 folds, ",
                "each of the 9 cases was predicted by the model of the fold that had held it out",
                "Each model was trained for 1000 epochs",
                "Training took 37.5 h for 3 folds together.",
            ],
            ["Of the split"],
            id="all folds",
        ),
        pytest.param(
            Trained(folds=("all",)),
            ["trained on every case; no case was held out", "of each case that the model was trained on"],
            ["alidation case", "fold 0"],
            id="one model of every case",
        ),
        pytest.param(
            Trained(asked={"validation_only": True, "val_best": True}, noted={"gpu_name": "NVIDIA A100"}),
            ["with the weights of the best pseudo Dice", "The validation ran with", "It was trained on NVIDIA A100."],
            ["CPU", "initialised"],
            id="only validated here",
        ),
        pytest.param(
            Trained(description=CT, asked={"pretrained_weights": "/home/doctor/w.pth"}),
            [
                "As given with the data: source A hospital; licence CC BY 4.0.",
                "Voxels with the ignore label counted neither in the loss nor in a metric.",
                "The weights were initialised from a pretrained model.",
            ],
            ["/home", "3 foreground"],
            id="a source, an ignore label and pretrained weights",
        ),
    ],
)
def test_each_sentence_is_what_the_files_say(
    settings: Settings, trained: Trained, said: list[str], never: list[str]
) -> None:
    text, unknown = told(settings, trained)

    assert [words for words in said if words not in text] == [], text
    assert [words for words in never if words in text] == [], text
    expected = {"source of the data"} if not trained.description.get("reference") else set()
    expected |= {"initial weights"} if trained.asked.get("validation_only") else set()
    assert set(unknown) == expected


def test_the_values_of_ct_normalisation_are_those_of_the_plans(settings: Settings) -> None:
    run_id = Trained().on_disk(settings)
    subject = subject_of(run_id, settings)
    plans: dict[str, Any] = json.loads((subject.model.folder / "plans.json").read_text(encoding="utf-8"))
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization"]
    (subject.model.folder / "plans.json").write_text(json.dumps(plans), "utf-8")

    text = methods(subject_of(run_id, settings)).text

    assert "clipped to 29 and 823 (0.5th and 99.5th percentile" in text
    assert "minus 321.6, divided by 167.9 (their mean and standard deviation)" in text


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("", id="missing"),
        pytest.param("[]", id="no object"),
        pytest.param('{"loss": 1, "optimizer": "SGD (", "num_epochs": "many", "device": [2]}', id="other values"),
        pytest.param(json.dumps({"loss": "(" * 100_000, "optimizer": "a" * 1_000_000}), id="long"),
    ],
)
def test_what_no_file_tells_is_named_and_left_out(settings: Settings, broken: str) -> None:
    run_id = Trained().on_disk(settings)
    folder = subject_of(run_id, settings).model.folder
    (folder / "fold_0" / "debug.json").write_text(broken, "utf-8")
    (folder / "dataset_fingerprint.json").write_text('{"spacings": [[1]], "shapes_after_crop": "x"}', "utf-8")

    text, unknown = (found := methods(subject_of(run_id, settings))).text, found.unknown

    assert "a U-Net (PlainConvUNet)" in text and "  " not in text
    assert set(unknown) >= {
        *("source of the data", "sizes and spacings of the images", "loss", "optimizer", "learning-rate schedule"),
        *("epochs and iterations", "sampling of patches", "augmentation", "inference"),
    }


def test_plans_that_nnunet_must_not_use_describe_nothing(settings: Settings) -> None:
    run_id = Trained().on_disk(settings)
    plans_file = subject_of(run_id, settings).model.folder / "plans.json"
    plans = json.loads(plans_file.read_text(encoding="utf-8"))
    plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"] = "os.system"
    plans_file.write_text(json.dumps(plans), "utf-8")

    found = methods(subject_of(run_id, settings))

    assert "os.system" not in found.text and {"network", "resampling", "normalisation"} <= set(found.unknown)


@pytest.mark.parametrize("patients", ["visit", ""])
def test_the_intervals_say_what_was_drawn(settings: Settings, monkeypatch: pytest.MonkeyPatch, patients: str) -> None:
    if patients:
        names = tuple(f"p{place // 6}{place % 3}_visit{place // 3}" for place in range(9))  # two are of one in a fold
        monkeypatch.setattr("tests.tools.reports.trained.CASES", names)

    text, _ = told(settings, Trained())

    assert f"10,000 draws of {'patients' if patients else 'cases'}." in text

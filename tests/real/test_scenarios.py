"""The documentation's scenarios, for real: nnU-Net on Hippocampus MRI through an MCP client over stdio."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest
import torch

from nnunet_mcp.files import write_model
from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.runs.machine.processor import computes_bfloat16
from nnunet_mcp.runs.processes import STAGE_VARIABLE, kill_all
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import CancelRecord
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.tools.training.training import prepare_run
from nnunet_mcp.worker.steps.train import parameters_of
from tests.kit.lab import (
    FEW,
    TRAINERS,
    Lab,
    ToolRefused,
    hippocampus_lab,
    make_tiny_plans,
    until,
    write_evil_checkpoint,
)

pytestmark = pytest.mark.heavy
TINY: dict[str, Any] = {"plans_identifier": "tinyPlans", "trainer": "ShortTrainer", "device": "cpu"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, hippocampus: Path) -> Lab:
    """Ten real cases, imported and preprocessed for 3d_fullres with small plans."""
    folder = tmp_path_factory.mktemp("scenarios")
    lab = hippocampus_lab(folder, hippocampus, cases=10, environment=FEW)
    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="0", trainer="OneStepTrainer", device="cpu")
    assert result["status"] == "success", result
    make_tiny_plans(lab.folder / "preprocessed" / "Dataset004_Hippocampus")
    return lab


def model_folder(lab: Lab, configuration: str = "3d_fullres", trainer: str = "ShortTrainer") -> Path:
    return lab.folder / "results" / "Dataset004_Hippocampus" / f"{trainer}__tinyPlans__{configuration}"


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found


def test_all_folds_give_the_cross_validation_that_nnunet_accumulates(lab: Lab, tmp_path: Path) -> None:
    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="all", **TINY)

    assert result["status"] == "success", result
    assert [fold["fold"] for fold in result["folds"]] == ["0", "1", "2", "3", "4"]
    assert all(fold["cases"] == 2 for fold in result["folds"])
    command = [str(Path(sys.executable).with_name("nnUNetv2_accumulate_crossval_results")), "4", "-c", "3d_fullres"]
    options = ["-p", "tinyPlans", "-tr", "ShortTrainer", "-o", str(tmp_path / "cv")]
    subprocess.run([*command, *options], check=True, env=lab.environment, stdout=subprocess.DEVNULL)
    theirs = summary(tmp_path / "cv")["foreground_mean"]
    assert result["metrics"]["dice"] == pytest.approx(theirs["Dice"], abs=1e-6)
    assert result["metrics"]["iou"] == pytest.approx(theirs["IoU"], abs=1e-6)
    compared = lab.call("nnunet_compare", run_ids=[result["run_id"]])["models"][0]
    assert (compared["dice"], compared["iou"]) == pytest.approx((theirs["Dice"], theirs["IoU"]), abs=1e-5)
    assert compared["rank"] is None and compared["parameters"] > 1000 and compared["train_hours"] > 0
    losses = [fold["validation_loss"] for fold in result["folds"]]
    assert result["metrics"]["validation_loss"] == pytest.approx(sum(losses) / 5, abs=1e-4)
    assert "±" in result["dice_mean_sd"]


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor has no bfloat16")
def test_in_mixed_precision_the_training_computes_in_bfloat16_and_the_validation_in_float32(lab: Lab) -> None:
    result = lab.train(dataset_id=4, fold="0", **TINY | {"trainer": "TellingTrainer", "bf16": True})

    assert result["status"] == "success", result
    assert any(note.startswith("bf16: trained in mixed precision") for note in result["notes"])
    log = lab.run_dir(result["run_id"]) / "stages" / "train_fold_0" / "log.txt"
    told = re.findall(r"computed in torch\.(\w+)", log.read_text(encoding="utf-8"))
    training = 2 * (4 + 2)
    assert told[:training] == ["bfloat16"] * training
    assert len(told) > training and set(told[training:]) == {"float32"}
    weights = torch.load(Path(result["model_path"]) / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_a_model_on_every_case_says_that_its_metrics_are_optimistic(lab: Lab) -> None:
    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="full", **TINY)

    assert result["status"] == "success", result
    written = lab.run_dir(result["run_id"]) / "provenance.json"
    assert until(written.is_file)
    provenance = json.loads(written.read_text(encoding="utf-8"))
    plans = lab.folder / "preprocessed" / "Dataset004_Hippocampus" / "tinyPlans.json"
    assert provenance["sha256"]["tinyPlans.json"] == hashlib.sha256(plans.read_bytes()).hexdigest()
    assert provenance["job"]["request"]["fold"] == "full" and provenance["machine"]["device"] == "cpu"
    assert {"nnunetv2", "torch", "python"} <= set(provenance["versions"])
    assert [stage["status"] for stage in provenance["stages"]] == ["success"]
    assert Path(result["model_path"]).name == "fold_all"
    assert result["cases"] == 10
    assert "optimistic" in " ".join(result["notes"])


def test_finished_folds_are_reused_when_all_are_asked_for_again(lab: Lab) -> None:
    before = (model_folder(lab) / "fold_3" / "checkpoint_final.pth").stat().st_mtime

    started = lab.call("nnunet_training", dataset_id=4, configuration="3d_fullres", fold="all", **TINY)
    result = lab.finish(started["run_id"])

    reused = [stage["name"] for stage in started["stages"] if stage["status"] == "success"]
    assert reused == ["preprocess", *(f"train_fold_{fold}" for fold in range(5))]
    assert result["complete"] and all(fold["reused"] for fold in result["folds"])
    assert (model_folder(lab) / "fold_3" / "checkpoint_final.pth").stat().st_mtime == before


def test_a_finished_model_is_refused_with_three_ways_on_and_overwritten_only_when_asked(lab: Lab) -> None:
    with pytest.raises(ToolRefused, match=r"validation_only=true.*overwrite=true.*another fold"):
        lab.call("nnunet_training", dataset_id=4, configuration="3d_fullres", fold="0", **TINY)

    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="0", overwrite=True, **TINY)

    assert result["status"] == "success"
    assert not list(model_folder(lab).glob("old_fold_0.*"))


def test_a_validation_alone_gives_the_same_numbers_and_says_which_checkpoint_it_used(lab: Lab) -> None:
    fold = model_folder(lab) / "fold_1"
    before = summary(fold / "validation")["foreground_mean"]

    again = lab.train(dataset_id=4, configuration="3d_fullres", fold="1", validation_only=True, npz=True, **TINY)
    best = lab.train(dataset_id=4, configuration="3d_fullres", fold="1", validation_only=True, val_best=True, **TINY)

    assert again["metrics"]["dice"] == pytest.approx(before["Dice"], abs=1e-6)
    assert again["metrics"]["validation_loss"] is not None
    assert len(list((fold / "validation").glob("*.npz"))) == 2
    assert "checkpoint_best.pth" in " ".join(best["notes"])


def test_a_cancelled_training_is_resumed_with_a_continuous_history(lab: Lab) -> None:
    request = {"dataset_id": 4, "configuration": "3d_fullres", "fold": "2", **TINY, "trainer": "MiddleTrainer"}
    first = lab.call("nnunet_training", **request)["run_id"]
    lab.wait_for(first, lambda progress: (progress["epoch"] or 0) >= 3)
    lab.call("nnunet_cancel", run_id=first)
    assert lab.wait_for(first, lambda _: False)["status"] == "cancelled"
    assert until(lambda: not lab.processes())

    with pytest.raises(ToolRefused, match="continue_training=true"):
        lab.call("nnunet_training", **request)
    way_on = lab.call("nnunet_progress", run_id=first)["next_step"]
    call = f"nnunet_training(dataset_id=4, like='{first}', continue_training=true)"
    assert re.fullmatch(
        rf"Cancelled\. Ask whether to resume it: {re.escape(call)}\. It goes on at epoch \d+ of 80 from "
        r"fold_2/checkpoint_latest\.pth; no epoch is repeated; about \d+ s of epochs are left\.",
        way_on,
    )
    second = lab.call("nnunet_training", dataset_id=4, like=first, continue_training=True)
    result = lab.finish(second["run_id"])

    assert result["status"] == "success", result
    assert [stage["name"] for stage in second["stages"]] == ["preprocess", "train_fold_2"]
    assert second["stages"][0]["status"] == "success"
    lines = (lab.run_dir(second["run_id"]) / "stages" / "train_fold_2" / "epochs.jsonl").read_text().splitlines()
    epochs = [json.loads(line) for line in lines]
    assert [epoch["epoch"] for epoch in epochs] == list(range(len(epochs)))
    assert sum(epoch["restored"] for epoch in epochs) >= 3
    assert "0 epochs behind the checkpoint" in " ".join(result["notes"])


@pytest.mark.long
def test_a_training_validates_the_cases_that_it_began_with_though_the_split_changes_and_it_is_resumed(lab: Lab) -> None:
    request = {"dataset_id": 4, "configuration": "3d_fullres", "fold": "1", **TINY, "trainer": "MiddleTrainer"}
    splits = lab.folder / "preprocessed" / "Dataset004_Hippocampus" / "splits_final.json"
    text = splits.read_text(encoding="utf-8")
    split = json.loads(text)
    first = lab.call("nnunet_training", **request)["run_id"]
    lab.wait_for(first, lambda progress: (progress["epoch"] or 0) >= 1)
    splits.write_text(json.dumps([split[1], split[0], *split[2:]]), encoding="utf-8")
    lab.call("nnunet_cancel", run_id=first)
    assert lab.wait_for(first, lambda _: False)["status"] == "cancelled"
    assert until(lambda: not lab.processes())

    result = lab.train(dataset_id=4, like=first, continue_training=True)
    splits.write_text(text, encoding="utf-8")

    assert result["status"] == "success", result
    fold = Path(result["model_path"])
    validated = [Path(case["prediction_file"]) for case in summary(fold / "validation")["metric_per_case"]]
    assert sorted(path.name.removesuffix(".nii.gz") for path in validated) == sorted(split[1]["val"])
    began = json.loads((fold / "nnunet_mcp_cases.json").read_text(encoding="utf-8"))
    assert {key: began[key] for key in ("train", "val")} == split[1] and began["raw_identity"]
    assert "goes on with the cases that it began with" in " ".join(result["notes"])


def test_continuing_without_a_checkpoint_says_so_at_once(lab: Lab) -> None:
    with pytest.raises(ToolRefused, match="no checkpoint"):
        lab.call("nnunet_training", dataset_id=4, configuration="2d", fold="0", continue_training=True)


def test_without_checkpointing_nothing_is_saved_and_the_notes_say_so(lab: Lab) -> None:
    request = {**TINY, "trainer": "OtherTrainer"}
    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="0", disable_checkpointing=True, **request)

    assert result["status"] == "success", result
    assert not list(Path(result["model_path"]).glob("*.pth"))
    assert "disable_checkpointing" in " ".join(result["notes"])


def test_a_loss_that_is_not_a_number_ends_in_an_error_not_in_success(lab: Lab) -> None:
    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="0", **{**TINY, "trainer": "NanTrainer"})

    assert result["status"] == "error"
    assert "NaN" in result["failure"]["cause"]
    assert [result["metrics"][name] for name in ("dice", "iou", "validation_loss")] == [None] * 3


def test_weights_of_the_same_architecture_are_transferred(lab: Lab) -> None:
    weights = model_folder(lab) / "fold_1" / "checkpoint_final.pth"

    result = lab.train(
        dataset_id=4,
        configuration="3d_fullres",
        fold="3",
        pretrained_weights=str(weights),
        **{**TINY, "trainer": "OtherTrainer"},
    )

    assert result["status"] == "success", result
    log = lab.run_dir(result["run_id"]) / "stages" / "train_fold_3" / "log.txt"
    assert "Loading pretrained weights" in log.read_text(encoding="utf-8")


def test_weights_of_another_architecture_bring_their_plans(lab: Lab) -> None:
    weights = model_folder(lab) / "fold_1" / "checkpoint_final.pth"

    request: dict[str, Any] = {"trainer": "ShortTrainer", "device": "cpu", "pretrained_weights": str(weights)}
    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="0", **request)

    assert result["status"] == "success", result
    assert "__tinyPlans_from_Dataset004_Hippocampus__" in result["model_path"]
    assert "planned with the architecture of" in " ".join(result["notes"])


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(lab: Lab, tmp_path: Path) -> None:
    evidence = tmp_path / "executed"
    weights = lab.folder.parent / "evil.pth"
    write_evil_checkpoint(weights, evidence)
    request = {**TINY, "trainer": "OtherTrainer"}

    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="4", pretrained_weights=str(weights), **request)

    assert result["status"] == "error"
    assert "safely" in result["failure"]["cause"]
    assert not evidence.exists()


def test_skipping_preprocessing_needs_preprocessed_data(lab: Lab) -> None:
    with pytest.raises(ToolRefused, match="no_preprocessing"):
        lab.call("nnunet_training", dataset_id=4, configuration="2d", fold="0", no_preprocessing=True)

    request = {**TINY, "trainer": "OtherTrainer"}
    started = lab.call("nnunet_training", dataset_id=4, fold="1", no_preprocessing=True, use_compressed=True, **request)

    assert [stage["name"] for stage in started["stages"]] == ["train_fold_1"]
    assert "use_compressed" in " ".join(started["notes"])
    assert lab.finish(started["run_id"])["status"] == "success"


def on_two_gpus(lab: Lab, trainer: str, monkeypatch: pytest.MonkeyPatch) -> tuple[StageDir, "subprocess.Popen[bytes]"]:
    """A training that believes in two GPUs: two CPU processes play them, the rest is what runs on GPUs."""
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    asked: dict[str, Any] = {"dataset_id": 4, "fold": "2", "device": "cuda", "num_gpus": 2}
    request = TrainingRequest(**asked, plans_identifier="tinyPlans", trainer=trainer)
    run, record, _ = prepare_run(request, lab.settings.model_copy(update={"gpus": 2}))
    assert record.num_gpus == 2
    stage = run.stage("train_fold_2")
    script = Path(__file__).parents[1] / "kit" / "ddp_on_cpu.py"
    environment = {**lab.environment, STAGE_VARIABLE: str(stage.path), "PYTHONPATH": str(Path(__file__).parents[2])}
    return stage, subprocess.Popen([sys.executable, str(script), str(run.path), stage.name], env=environment)


def test_several_gpus_train_through_nnunets_ddp_with_progress_from_rank_0(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, process = on_two_gpus(lab, "OtherTrainer", monkeypatch)

    assert process.wait(timeout=200) == 0
    outcome = stage.outcome()
    assert isinstance(outcome, ModelOutcome) and outcome.ok
    assert [epoch.epoch for epoch in stage.epochs()] == [0, 1]
    assert all(epoch.train_loss is not None for epoch in stage.epochs())
    progress = stage.progress()
    assert progress is not None and progress.done == progress.total == (len(outcome.cases) + 1) // 2, "those of rank 0"


@pytest.mark.long
def test_a_request_to_stop_ends_all_ranks_after_the_same_epoch(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, process = on_two_gpus(lab, "LongTrainer", monkeypatch)
    try:
        assert until(lambda: bool(stage.recent_epochs(1)), timeout_s=200)
        write_model(stage.path.parents[1] / "cancel.json", CancelRecord(requested_at=time.time(), grace_s=60))

        assert process.wait(timeout=60) == 1
    finally:
        kill_all(stage.path)
    outcome = stage.outcome()
    assert outcome is not None and outcome.stopped
    assert (model_folder(lab, trainer="LongTrainer") / "fold_2" / "checkpoint_latest.pth").is_file()


EXAMPLES = Path(__file__).parents[2] / "examples"
COMMON = ["--dataset", "Dataset004_Hippocampus", "--device", "cpu", "--plans", "tinyPlans", "--trainer", "ThirdTrainer"]


def run_example(lab: Lab, name: str, *more: str) -> list[dict[str, Any]]:
    """Run a file of examples/ and read what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *COMMON, *more],
        env=lab.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(done.stdout)]


@pytest.mark.long
def test_the_documentations_examples_run_as_written(lab: Lab) -> None:
    documented = ("status", "model_path", "dataset_id", "configuration", "fold", "metrics")
    weights = str(model_folder(lab) / "fold_1" / "checkpoint_final.pth")

    first = run_example(lab, "train_one_fold.py")[0]
    every = run_example(lab, "train_all_folds.py", "--trainer", "ShortTrainer")[0]  # whose folds are trained already
    flat = run_example(lab, "train_2d_on_cpu.py")[0]
    (Path(first["model_path"]) / "checkpoint_final.pth").rename(Path(first["model_path"]) / "checkpoint_latest.pth")
    resumed = run_example(lab, "continue_training.py")[0]
    (Path(first["model_path"])).rename(lab.folder / "put_away")
    transferred = run_example(lab, "transfer_weights.py", "--pretrained_weights", weights)[0]

    for result, configuration, fold in (
        (first, "3d_fullres", "0"),
        (every, "3d_fullres", "all"),
        (flat, "2d", "0"),
        (resumed, "3d_fullres", "0"),
        (transferred, "3d_fullres", "0"),
    ):
        assert [name for name in documented if name in result] == list(documented)
        assert (result["status"], result["dataset_id"]) == ("success", 4)
        assert (result["configuration"], result["fold"]) == (configuration, fold)
        assert 0 <= result["metrics"]["iou"] <= result["metrics"]["dice"] <= 1


def test_more_gpus_than_the_machine_has_are_refused_at_once(lab: Lab) -> None:
    with pytest.raises(ToolRefused, match=r"num_gpus=3.*nvidia-smi lists"):
        lab.call("nnunet_training", dataset_id=4, fold="2", device="cuda", num_gpus=3)


def test_predictions_are_nnunets_own_scored_at_once_and_kept_when_asked_again(lab: Lab, tmp_path: Path) -> None:
    model = lab.train(dataset_id=4, configuration="3d_fullres", fold="0", **{**TINY, "trainer": "PredictedTrainer"})
    raw = lab.folder / "raw" / "Dataset004_Hippocampus"
    images = lab.folder.parent / "new_images"
    images.mkdir()
    for path in sorted((raw / "imagesTr").iterdir())[:3]:
        shutil.copy(path, images / path.name)
    output = lab.folder.parent / "predicted"
    request = {"run_id": model["run_id"], "images": str(images), "output": str(output), "labels": "labelsTr"}

    started = lab.call("nnunet_predict", **request, options=["uncertainty=on"])
    result = lab.finish(started["run_id"])

    assert result["status"] == "success" and result["predictions"] == str(output), result
    assert started["cases"] == 3 and 0 <= result["metrics"]["dice"] <= 1
    assert len(result["uncertain_cases"]) == 3 and all(0 < one["entropy"] <= 1 for one in result["uncertain_cases"])
    command = [
        str(Path(sys.executable).with_name("nnUNetv2_predict")),
        "-i",
        str(images),
        "-o",
        str(tmp_path / "theirs"),
    ]
    which = ["-d", "4", "-c", "3d_fullres", "-f", "0", "-p", "tinyPlans", "-tr", "PredictedTrainer", "-device", "cpu"]
    subprocess.run([*command, *which], check=True, env=lab.environment, stdout=subprocess.DEVNULL)
    for path in sorted((tmp_path / "theirs").glob("*.nii.gz")):
        ours = nibabel.load(output / path.name)
        assert (numpy.asarray(ours.dataobj) == numpy.asarray(nibabel.load(path).dataobj)).all()

    first, cut = sorted(output.glob("*.nii.gz"))[:2]
    before = first.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:50])
    again = lab.finish(lab.call("nnunet_predict", **{**request, "labels": None})["run_id"])
    assert again["status"] == "success" and "2 of them were there already" in " ".join(again["notes"])
    assert nibabel.load(cut).get_fdata().size > 0 and first.stat().st_mtime_ns == before


def test_a_residual_encoder_preset_is_planned_by_its_own_planner_and_trains(lab: Lab) -> None:
    preset: dict[str, Any] = {"plans_identifier": "nnUNetResEncUNetMPlans", "trainer": "OneStepTrainer"}
    result = lab.train(dataset_id=4, configuration="3d_fullres", fold="0", device="cpu", **preset)

    assert result["status"] == "success", result
    plans = lab.folder / "preprocessed" / "Dataset004_Hippocampus" / "nnUNetResEncUNetMPlans.json"
    network = json.loads(plans.read_text(encoding="utf-8"))["configurations"]["3d_fullres"]["architecture"]
    assert network["network_class_name"].endswith("ResidualEncoderUNet")
    assert "nnUNetResEncUNetMPlans" in result["model_path"]


def test_a_checkpoint_that_holds_more_than_data_leaves_its_parameters_uncounted(tmp_path: Path) -> None:
    import torch

    strange = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": {}, "of_my_own": Lab(tmp_path)}, strange)

    assert parameters_of(strange) is None
    assert parameters_of(tmp_path / "none.pth") is None


@pytest.mark.long
def test_the_hours_foretold_come_true_and_the_network_is_as_nnunet_builds_it(lab: Lab) -> None:
    request: dict[str, Any] = {"dataset_id": 4, "configuration": "3d_fullres", **TINY, "trainer": "ForetoldTrainer"}
    made_up = lab.call("nnunet_preflight", **request, fold="0", measure=True)
    assert "made-up batch" in made_up["hours"]["basis"] and made_up["hours"]["low"] <= made_up["hours"]["expected"]
    assert lab.train(**request, fold="0")["status"] == "success"

    answer = lab.call("nnunet_preflight", **request, fold="1")
    begun = time.time()
    result = lab.train(**request, fold="1")
    hours = (time.time() - begun) / 3600

    assert result["status"] == "success"
    # The machine may be busy with other things in one of the two runs.
    assert 0.2 < answer["hours"]["expected"] / hours < 5
    compared = lab.call("nnunet_compare", run_ids=[result["run_id"]])["models"][0]
    assert compared["parameters"] == answer["network"]["parameters"] and compared["rank"] is None
    assert 0 <= answer["network"]["gpu_memory_gb"] < 9, "nnU-Net plans for 8 GB, and small images need less"
    assert not lab.call("nnunet_preflight", **request, fold="1")["possible"], "the fold has a finished model now"

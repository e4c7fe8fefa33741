"""What a kill costs: minutes at most, and never a checkpoint. Real trainings."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from nnunet_mcp.runs.layout import StateDir
from tests.kit.lab import FEW, Answer, Lab, ToolRefused, hippocampus_lab, make_tiny_plans, until

pytestmark = pytest.mark.heavy
REQUEST: dict[str, Any] = {
    "dataset_id": 4,
    "configuration": "3d_fullres",
    "plans_identifier": "tinyPlans",
    "trainer": "MiddleTrainer",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, hippocampus: Path) -> Lab:
    """Five real cases, preprocessed; checkpoints by time after every epoch."""
    folder = tmp_path_factory.mktemp("losses")
    lab = hippocampus_lab(folder, hippocampus, environment={**FEW, "NNUNET_MCP_CHECKPOINT_EVERY_S": "0"})
    first = {**REQUEST, "plans_identifier": "nnUNetPlans", "trainer": "OneStepTrainer"}
    assert lab.train(**first, fold="0")["status"] == "success"
    make_tiny_plans(lab.folder / "preprocessed" / "Dataset004_Hippocampus")
    return lab


def start_and_train(lab: Lab, fold: str, epochs: int) -> str:
    run_id = str(lab.call("nnunet_training", **REQUEST, fold=fold)["run_id"])
    progress = lab.wait_for(run_id, lambda now: (now["epoch"] or 0) >= epochs)
    assert progress["status"] == "running", progress
    return run_id


def kill_everything(lab: Lab, run_id: str) -> None:
    """The supervisor and the worker at once; what the worker had started goes with it."""
    run = StateDir(lab.settings.state_dir).run(run_id)
    engine, record = run.engine(), run.record()
    assert engine is not None and record is not None
    states = [state for spec in record.stages if (state := run.stage(spec.name).state()) and state.status == "running"]
    assert len(lab.processes()) > len(states), "there are loaders, too"
    for mark in (engine.supervisor, *(state.process for state in states)):
        assert mark is not None
        psutil.Process(mark.pid).kill()
    assert until(lambda: not lab.processes(), timeout_s=10)


def resume(lab: Lab, fold: str) -> tuple[Answer, list[Answer]]:
    started = lab.call("nnunet_training", **REQUEST, fold=fold, continue_training=True)
    result = lab.finish(started["run_id"])
    path = StateDir(lab.settings.state_dir).run(started["run_id"]).stage(f"train_fold_{fold}").epochs_file
    return result, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_whose_processes_all_die_is_interrupted_and_loses_an_epoch_at_most(lab: Lab) -> None:
    run_id = start_and_train(lab, "0", epochs=4)
    kill_everything(lab, run_id)

    interrupted = lab.call("nnunet_progress", run_id=run_id)
    seen = interrupted["epoch"]
    result, epochs = resume(lab, "0")

    assert interrupted["status"] == "interrupted"
    assert "continue_training" in interrupted["next_step"]
    assert result["status"] == "success", result
    assert [epoch["epoch"] for epoch in epochs] == list(range(80))
    assert sum(epoch["restored"] for epoch in epochs) >= seen - 1


def test_a_checkpoint_that_was_cut_off_falls_back_to_the_one_before(lab: Lab) -> None:
    run_id = start_and_train(lab, "1", epochs=4)
    kill_everything(lab, run_id)
    fold = lab.folder / "results" / "Dataset004_Hippocampus" / "MiddleTrainer__tinyPlans__3d_fullres" / "fold_1"
    latest = fold / "checkpoint_latest.pth"
    latest.write_bytes(latest.read_bytes()[: latest.stat().st_size // 2])

    result, epochs = resume(lab, "1")

    assert result["status"] == "success", result
    assert "checkpoint_latest.pth could not be read" in " ".join(result["notes"])
    assert re.search(r"Resumed at epoch \d+; [1-9]\d* epochs behind the checkpoint", " ".join(result["notes"]))
    assert len(epochs) == 80


def change_plans(lab: Lab, **fields: Any) -> None:
    path = lab.folder / "preprocessed" / "Dataset004_Hippocampus" / "tinyPlans.json"
    plans = json.loads(path.read_text(encoding="utf-8"))
    configuration = plans["configurations"]["3d_fullres"]
    configuration["batch_size"] = fields.get("batch_size", configuration["batch_size"])
    configuration["architecture"]["arch_kwargs"].update(features_per_stage=fields.get("features", [4, 8, 16]))
    path.write_text(json.dumps(plans), encoding="utf-8")


@pytest.mark.long
def test_a_resume_after_the_plans_changed_says_so_and_needs_the_same_network(lab: Lab) -> None:
    kill_everything(lab, start_and_train(lab, "3", epochs=2))
    change_plans(lab, features=[4, 8, 8])

    other_network = lab.train(**REQUEST, fold="3", continue_training=True)
    change_plans(lab, batch_size=3)
    other_batch, _ = resume(lab, "3")

    assert other_network["status"] == "error"
    assert "the plans have changed since this training began" in other_network["failure"]["cause"]
    assert "architecture differ" in other_network["failure"]["evidence"]
    assert other_batch["status"] == "success", other_batch
    assert any("plans have changed" in note and "(batch_size)" in note for note in other_batch["notes"])


def test_a_worker_that_is_killed_leaves_an_interrupted_run_with_the_signal_as_evidence(lab: Lab) -> None:
    run_id = start_and_train(lab, "2", epochs=2)
    worker = next(p for p in lab.processes() if "nnunet_mcp.worker" in p.cmdline())

    worker.kill()

    progress = lab.wait_for(run_id, lambda now: now["status"] != "running")
    assert progress["status"] == "interrupted"
    assert "signal 9" in progress["failure"]["cause"]
    assert until(lambda: not lab.processes())


def test_a_training_that_was_started_by_hand_is_seen_but_not_touched(lab: Lab) -> None:
    command = [str(Path(sys.executable).with_name("nnUNetv2_train")), "4", "3d_fullres", "3", "-tr", "LongTrainer"]
    options = ["-p", "tinyPlans", "-device", "cpu"]
    process = subprocess.Popen(
        [*command, *options],
        env=lab.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert until(lambda: bool(_external(lab)) and _external(lab)[0]["epoch"] is not None, timeout_s=60)
        line = _external(lab)[0]
        with pytest.raises(ToolRefused, match="started by hand"):
            lab.call("nnunet_cancel", run_id=line["run_id"])
        with pytest.raises(ToolRefused, match="being trained by an nnUNetv2_train"):
            lab.call("nnunet_training", **{**REQUEST, "trainer": "LongTrainer"}, fold="3")
        alive = process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    assert alive and line["status"] == "running" and line["fold"] == "3"
    assert _external(lab)[0]["status"] == "interrupted"


def _external(lab: Lab) -> list[Answer]:
    return [line for line in lab.call("nnunet_runs")["runs"] if line["external"]]

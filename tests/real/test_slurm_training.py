"""nnU-Net itself on a real Slurm, through MCP: Hippocampus MRI, all folds; then a job that reaches its time limit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lab import Answer, Lab, ToolRefused, hippocampus_lab, make_tiny_plans, until
from tests.kit.slurm_cluster import Cluster, running_cluster, why_not

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_not()), reason=why_not())]
REQUEST: dict[str, Any] = {"dataset_id": 4, "configuration": "3d_fullres", "engine": "slurm"}
# Every process of nnU-Net's pools imports torch anew, which takes longer than these trainings. Planning needs one.
SET_UP = "[[ $SLURM_JOB_NAME == *:preprocess ]] || export nnUNet_n_proc_DA=0"
OPTIONS = ["partition=gpu", "cpus=2", "memory=3G"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, hippocampus: Path, cluster: Cluster) -> Lab:
    """Five real cases and a workspace whose path has a space."""
    folder = tmp_path_factory.mktemp("slurm training")
    environment = {**cluster.environment, "nnUNet_def_n_proc": "1", "NNUNET_MCP_SLURM_SETUP": SET_UP}
    return hippocampus_lab(folder, hippocampus, environment=environment)


def test_all_folds_of_a_real_training_run_as_jobs(lab: Lab, cluster: Cluster) -> None:
    request = {**REQUEST, "fold": "all", "trainer": "OneStepTrainer", "device": "cpu"}
    foreseen = lab.call("nnunet_preflight", **request, slurm=[*OPTIONS, "parallel=1"])
    assert foreseen["possible"], foreseen
    assert [script.count("#SBATCH --mem=3G\n") for script in foreseen["job_scripts"]] == [1, 1, 1]
    assert "to start at" in " ".join(foreseen["queue"])

    result = lab.train(**request, slurm=[*OPTIONS, "parallel=1"])

    assert result["status"] == "success", result
    assert [fold["fold"] for fold in result["folds"]] == ["0", "1", "2", "3", "4"]
    merged = Path(result["model_path"]) / "crossval_results_folds_0_1_2_3_4" / "summary.json"
    theirs = json.loads(merged.read_text(encoding="utf-8"))["foreground_mean"]
    assert result["metrics"]["dice"] == pytest.approx(theirs["Dice"], abs=1e-6)
    run = lab.run_dir(result["run_id"])
    assert until((run / "result.json").is_file)
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["metrics"] == result["metrics"]
    assert sorted(name.split(":")[1] for name in cluster.jobs()) == sorted(
        ["preprocess", *(f"train_fold_{fold}" for fold in range(5)), "cross_validation"]
    )


def test_a_time_limit_is_reached_and_the_training_goes_on_with_a_continuous_history(lab: Lab, cluster: Cluster) -> None:
    """Slurm itself warns the job; its pause of two minutes before a requeued job may start is skipped."""
    make_tiny_plans(lab.folder / "preprocessed" / "Dataset004_Hippocampus")
    request = {**REQUEST, "fold": "0", "trainer": "UnhurriedTrainer", "plans_identifier": "tinyPlans"}
    with pytest.raises(ToolRefused, match=r"invalid partition.*Nothing was started"):
        lab.call("nnunet_training", **request, device="cpu", slurm=["partition=nowhere"])

    started = lab.call("nnunet_training", **request, device="cpu", slurm=[*OPTIONS, "time=1", "warn=10"])
    run_id = started["run_id"]
    job = json.loads((lab.run_dir(run_id) / "engine.json").read_text(encoding="utf-8"))["jobs"]["train_fold_0"]
    paused = _until_paused(lab, cluster, run_id, job)
    assert "attempt 1 reached the time limit, saved" in paused["health"]["detail"]
    cluster.hurry(job, TimeLimit="30")
    result = lab.finish(run_id)

    assert result["status"] == "success", result
    stage = lab.run_dir(run_id) / "stages" / "train_fold_0"
    epochs = [json.loads(line)["epoch"] for line in (stage / "epochs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert epochs == list(range(60))
    assert json.loads((stage / "state.json").read_text(encoding="utf-8"))["attempt"] == 2


def _until_paused(lab: Lab, cluster: Cluster, run_id: str, job: str) -> Answer:
    assert until(lambda: cluster.run("squeue", "-h", "-j", job, "-o", "%T %r") == "PENDING BeginTime", timeout_s=120)
    return lab.call("nnunet_progress", run_id=run_id)

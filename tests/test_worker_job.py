"""What a stage's worker takes from the request."""

from pathlib import Path

from nnunet_mcp.runs.files import write_model
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.runs.liveness import host_name
from nnunet_mcp.runs.settings import Settings
from nnunet_mcp.schemas.runs import RunRecord, StageSpec
from nnunet_mcp.worker.resources import fit_to_machine
from nnunet_mcp.worker.stage import Job


def test_the_lowres_models_of_a_cascade_are_not_what_the_request_wants_overwritten_or_transferred(
    settings: Settings, tmp_path: Path
) -> None:
    record = RunRecord(
        run_id="d060-3d_cascade_fullres-f0-k7m3",
        created_at=0.0,
        request={
            "dataset_id": 60,
            "configuration": "3d_cascade_fullres",
            "fold": "0",
            "overwrite": True,
            "disable_checkpointing": True,
            "pretrained_weights": "/models/checkpoint_final.pth",
        },
        dataset_name="Dataset060_Large",
        trainer="nnUNetTrainer",
        plans_identifier="nnUNetPlans",
        device="cpu",
        folders=settings.folders,
        stages=(
            StageSpec(name="lowres_fold_1", kind="train", configuration="3d_lowres", fold="1"),
            StageSpec(name="train_fold_0", kind="train", configuration="3d_cascade_fullres", fold="0"),
        ),
        host=host_name(),
    )
    run = RunDir(tmp_path / record.run_id)
    run.stage("lowres_fold_1").path.mkdir(parents=True)
    write_model(run.run_file, record)

    lowres, asked = (Job.of(str(run.path), spec.name) for spec in record.stages)

    assert (lowres.asked("overwrite"), lowres.asked("disable_checkpointing"), lowres.weights) == (False, False, None)
    assert asked.asked("overwrite") and asked.asked("disable_checkpointing")
    assert asked.weights == Path("/models/checkpoint_final.pth")


def test_a_cpu_training_gets_settings_that_fit_and_the_users_own_win() -> None:
    chosen = fit_to_machine("train", "cpu", {})

    assert (chosen["nnUNet_n_proc_DA"], chosen["OMP_WAIT_POLICY"]) == ("1", "PASSIVE")
    assert fit_to_machine("train", "cpu", {"OMP_WAIT_POLICY": "ACTIVE", "nnUNet_n_proc_DA": "3"}).keys() == {
        "nnUNet_def_n_proc"
    }
    assert "OMP_WAIT_POLICY" not in fit_to_machine("train", "cuda", {})

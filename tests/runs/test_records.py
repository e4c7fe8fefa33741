"""The record of each kind of job, from its making to its reading."""

import pytest

from nnunet_mcp.files import read_model, write_model
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import new_record, record_run
from nnunet_mcp.schemas.jobs import AnyJob, TrainingJob
from nnunet_mcp.schemas.records import RunRecord
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from tests.kit.tiny import JOBS, stage

REQUEST = TrainingRequest(dataset_id=1, configuration="2d", fold="full", num_gpus=2)
TRAINING = TrainingJob(request=REQUEST, trainer="T", plans_identifier="P")


def recorded(settings: Settings, job: AnyJob) -> RunRecord:
    """As a tool would record it."""
    return new_record(
        job, [stage("train_fold_0")], dataset_name="Dataset001_Tiny", folders=settings.folders, versions={}
    )


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_a_job_that_trains_nothing_has_no_fold_and_its_kind_in_its_place(settings: Settings, job: AnyJob) -> None:
    record = recorded(settings, job)

    assert (record.training, record.fold, record.fold_or_kind) == (None, None, job.kind)
    names = ("", "") if job.kind == "evaluate" else ("nnUNetTrainer", "nnUNetPlans")
    assert record.run_id.startswith(f"d001-{job.configuration}-{job.kind}-")
    assert (record.trainer, record.plans_identifier, record.bf16) == (*names, False)


@pytest.mark.parametrize("job", [TRAINING, *JOBS], ids=lambda job: job.kind)
def test_every_job_is_read_from_the_disk_as_it_was_written(settings: Settings, job: AnyJob) -> None:
    path = settings.folder("results") / "run.json"

    write_model(path, record := recorded(settings, job))

    assert read_model(path, RunRecord) == record


def test_a_training_has_the_fold_the_gpus_and_the_names_of_its_request_and_plan(settings: Settings) -> None:
    record = recorded(settings, TRAINING)

    assert (record.fold, record.fold_or_kind, record.num_gpus, record.bf16) == ("full", "full", 2, False)
    assert (record.trainer, record.plans_identifier, str(record.job.model)) == ("T", "P", "T__P__2d")


def test_the_same_request_is_the_same_also_where_plans_have_come_to_be_meanwhile(settings: Settings) -> None:
    state, later = StateDir.of(settings), TRAINING.model_copy(update={"planner": None, "trainer": "T"})
    first = recorded(settings, TRAINING.model_copy(update={"planner": "ExperimentPlanner"}))
    record_run(state, first, ["fold"], repeat_window_s=100)

    run, new = record_run(state, recorded(settings, later), ["fold"], repeat_window_s=100)

    assert (run.run_id, new) == (first.run_id, False)

"""A training like an earlier one: `like` takes over its arguments, never what would overwrite or resume."""

import os
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.jobs import SearchJob
from nnunet_mcp.schemas.records import CancelRecord, EngineRecord, RunRecord, StageSpec, StageState
from nnunet_mcp.schemas.training import TrainingCall, TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.training.repeating import repeated
from nnunet_mcp.tools.training.training import prepare_run
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset, record_of, stage

RUN = "d001-2d-f3-tttt"
EARLIER: dict[str, Any] = {
    "dataset_id": 1,
    "configuration": "2d",
    "fold": "3",
    "trainer": "nnUNetTrainer_5epochs",
    "device": "cpu",
    "npz": True,
    "overwrite": True,
    "note": "the first try",
}


@pytest.fixture(autouse=True)
def earlier(settings: Settings) -> None:
    """A run that trained with arguments of its own, and datasets for the next one."""
    for name in ("Dataset001_Tiny", "Dataset002_Other"):
        make_dataset(settings.folder("raw"), name)
    request = TrainingRequest.model_validate(EARLIER).model_dump(mode="json")
    record = record_of(settings, stage("train_fold_3"), run_id=RUN, request=request)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)


def prepared(settings: Settings, **arguments: Any) -> RunRecord:
    return prepare_run(TrainingCall.model_validate({"like": RUN, **arguments}), settings)[1]


def test_arguments_that_are_not_given_are_the_earlier_runs(settings: Settings) -> None:
    record = prepared(settings, dataset_id=1, fold="4")

    kept = {**EARLIER, "fold": "4", "overwrite": False, "note": None}
    assert record.training and record.training.request == TrainingRequest.model_validate(kept)
    assert record.trainer == "nnUNetTrainer_5epochs"
    assert "As d001-2d-f3-tttt: configuration='2d', trainer='nnUNetTrainer_5epochs'" in record.notes[0]


def test_another_dataset_is_trained_alike_and_a_default_may_be_asked_for_again(settings: Settings) -> None:
    record = prepared(settings, dataset_id=2, trainer="nnUNetTrainer", npz=False, device=None)

    assert (record.dataset_name, record.fold) == ("Dataset002_Other", "3")
    assert (record.trainer, record.training and record.training.request.npz) == ("nnUNetTrainer", False)


def test_preflight_says_what_a_repeated_training_would_do(settings: Settings) -> None:
    answer = ask(settings, "nnunet_preflight", dataset_id=1, like=RUN)

    assert [line["name"] for line in answer["stages"]] == ["preprocess", "train_fold_3"]
    assert RUN in answer["notes"][0]


def test_what_does_not_go_together_with_the_earlier_arguments_is_refused(settings: Settings) -> None:
    with pytest.raises(Refused, match=r"do not go together.*num_gpus=2 and device='cpu'"):
        prepared(settings, dataset_id=1, num_gpus=2)


def test_only_trainings_are_repeated(settings: Settings) -> None:
    spec = StageSpec(name="find_best", kind="find_best", configuration="best")
    job = SearchJob(dataset_id=1, models=("nnUNetTrainer__nnUNetPlans__2d",), folds=("0",), ensembling=False)
    record = record_of(settings, spec, run_id="d001-p", job=job)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)

    with pytest.raises(ToolRefused, match="is no training"):
        ask(settings, "nnunet_training", dataset_id=1, like="d001-p")
    with pytest.raises(ToolRefused, match="There is no run"):
        ask(settings, "nnunet_training", dataset_id=1, like="d001-none")


def test_a_resume_of_a_transferred_training_goes_on_from_its_checkpoint_with_its_plans(settings: Settings) -> None:
    weights = {**EARLIER, "fold": "2", "pretrained_weights": "/models/checkpoint_final.pth"}
    request = TrainingRequest.model_validate(weights).model_dump(mode="json")
    planned: dict[str, Any] = {"plans_identifier": "nnUNetPlans_moved", "trainer": "nnUNetTrainer_5epochs"}
    record = record_of(settings, stage("train_fold_2"), run_id="d001-transferred", request=request, **planned)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)

    resumed, _ = repeated("d001-transferred", {"dataset_id": 1, "continue_training": True}, settings)

    assert (resumed.continue_training, resumed.pretrained_weights) == (True, None)
    assert (resumed.plans_identifier, resumed.fold, resumed.npz) == ("nnUNetPlans_moved", "2", True)


def test_a_resume_of_all_folds_keeps_the_weights_for_the_folds_that_have_not_begun(settings: Settings) -> None:
    weights = {**EARLIER, "fold": "all", "pretrained_weights": "/models/checkpoint_final.pth"}
    request = TrainingRequest.model_validate(weights).model_dump(mode="json")
    record = record_of(settings, stage("train_fold_2"), run_id="d001-transferred", request=request)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)

    on: dict[str, object] = {"dataset_id": 1, "continue_training": True}
    every, _ = repeated("d001-transferred", on, settings)
    one, _ = repeated("d001-transferred", {**on, "fold": "2"}, settings)

    assert (every.continue_training, every.pretrained_weights) == (True, "/models/checkpoint_final.pth")
    assert (one.continue_training, one.pretrained_weights) == (True, None)


def test_weights_are_not_asked_for_again_once_every_fold_has_a_checkpoint(settings: Settings) -> None:
    weights = {**EARLIER, "fold": "all", "pretrained_weights": "/models/checkpoint_final.pth"}
    request = TrainingRequest.model_validate(weights).model_dump(mode="json")
    record = record_of(settings, stage("train_fold_2"), run_id="d001-transferred", request=request)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    fold = FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, record.stages[0]))
    fold.path.mkdir(parents=True)
    fold.latest.touch()

    resumed, _ = repeated("d001-transferred", {"dataset_id": 1, "continue_training": True}, settings)

    assert resumed.pretrained_weights is None, "a file that is gone stops no resume"


def test_the_way_on_after_a_stop_is_a_call_that_works(settings: Settings) -> None:
    run = StateDir(settings.state_dir).run(RUN)
    write_model(run.cancel_file, CancelRecord(requested_at=0.0, grace_s=0.0))
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid()).model_copy(update={"start_time": 0.0})))
    call = f"nnunet_training(dataset_id=1, like='{RUN}'"
    record = run.record()
    assert record is not None
    fold = FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, record.stages[0]))
    fold.path.mkdir(parents=True)

    again = f"Ask whether to start it again from epoch 1: {call}, overwrite=true)."
    assert ask(settings, "nnunet_progress", run_id=RUN)["next_step"] == f"Cancelled. {again}"
    fold.latest.touch()
    fold.owner_file.write_text("another run", encoding="utf-8")
    assert ask(settings, "nnunet_results", run_id=RUN)["next_step"] == f"It was stopped: {again}"
    fold.owner_file.write_text(RUN, encoding="utf-8")
    assert ask(settings, "nnunet_results", run_id=RUN)["next_step"] == (
        f"It was stopped: Ask whether to resume it: {call}, continue_training=true). "
        "It goes on from fold_3/checkpoint_latest.pth, whose epoch is not noted."
    )
    assert repeated(RUN, {"dataset_id": 1, "continue_training": True}, settings)[0].fold == "3"


def test_a_resume_that_was_stopped_before_it_began_goes_on_from_the_same_checkpoint(settings: Settings) -> None:
    request = TrainingRequest(dataset_id=1, configuration="2d", fold="2", continue_training=True)
    asked = request.model_dump(mode="json")
    record = record_of(settings, stage("train_fold_2"), run_id="d001-2d-f2-tttt", request=asked)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    write_model(run.stage("train_fold_2").state_file, StageState(status="cancelled"))
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid()).model_copy(update={"start_time": 0.0})))
    fold = FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, record.stages[0]))
    fold.path.mkdir(parents=True)
    fold.latest.touch()
    fold.owner_file.write_text("the run before", encoding="utf-8")

    way_on = ask(settings, "nnunet_progress", run_id=record.run_id)["next_step"]

    assert f"like='{record.run_id}', continue_training=true). It goes on from fold_2/checkpoint_latest.pth" in way_on


def test_changes_come_on_top_of_the_earlier_runs_and_default_takes_one_away(settings: Settings) -> None:
    first = prepared(settings, dataset_id=1, changes=["epochs=300", "loss=dice", "batch_size=4"])
    assert (first.trainer, first.plans_identifier) == ("nnUNetTrainer_5epochs_300epochs_Dice", "nnUNetPlans_bs4")

    second = prepared(settings, like=first.run_id, dataset_id=1, changes=["epochs=7", "loss=default", "seed=1"])

    assert "changes=['epochs=7', 'seed=1', 'batch_size=4']" in second.notes[0]
    assert second.training and second.training.request.changes == ("epochs=7", "seed=1", "batch_size=4")
    assert (second.trainer, second.plans_identifier) == ("nnUNetTrainer_5epochs_7epochs_seed1", "nnUNetPlans_bs4")
    resumed = repeated(second.run_id, {"dataset_id": 1, "continue_training": True}, settings)[0]
    assert (resumed.plans_identifier, resumed.changes) == (None, second.training.request.changes), "not derived twice"

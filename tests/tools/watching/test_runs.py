"""The first question of every new chat: what was trained here, how is it going, and what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.records import Epoch, Failure, StageSpec, StageState
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.training.training import prepare_run
from tests.kit.lab import ToolRefused
from tests.kit.tiny import JOBS, ask, make_dataset, record_of, stage

FAILED = Failure(cause="the label file a.nii.gz has values 7", evidence="Found: [7]", remedy="Correct it.")
LOSSES = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"), 0.1)


def recorded(settings: Settings, run_id: str, *, at: float, state: StageState, resume: bool = False) -> RunDir:
    """A training of fold 0 that was recorded then and has come to this."""
    spec = stage("train_fold_0", resume=resume)
    record = record_of(settings, spec, run_id=run_id, created_at=at, trainer="nnUNetTrainerQuick")
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    write_model(run.stage(spec.name).state_file, state)
    epoch: dict[str, Any] = {"epoch": 4, "seconds": 1.0, **LOSSES}
    append_line(run.stage(spec.name).epochs_file, Epoch.model_validate(epoch))
    return run


@pytest.fixture
def failed_and_resumed(settings: Settings) -> None:
    failed = StageState(status="error", started_at=1000, ended_at=3600, failure=FAILED)
    recorded(settings, "d001-2d-f0-frst", at=1000, state=failed)
    stopped = StageState(status="cancelled", started_at=5000, ended_at=7200)
    recorded(settings, "d001-2d-f0-scnd", at=5000, state=stopped, resume=True)


@pytest.mark.usefixtures("failed_and_resumed")
def test_a_line_has_trainer_end_problem_and_what_it_continues(settings: Settings) -> None:
    runs = {run["run_id"]: run for run in ask(settings, "nnunet_runs")["runs"]}

    first, second = runs["d001-2d-f0-frst"], runs["d001-2d-f0-scnd"]
    assert first["trainer"] == "nnUNetTrainerQuick" and first["ended"] == "1970-01-01T01:00:00+00:00"
    assert first["problem"] == FAILED.cause and "continues" not in first
    assert second["continues"] == "d001-2d-f0-frst" and "problem" not in second


def test_one_list_has_the_last_losses_of_every_run(settings: Settings) -> None:
    lived = recorded(settings, "d001-2d-f0-live", at=1000, state=StageState(status="success"))
    last = {"epoch": 5, "seconds": 1.0, "train_loss": -0.81234, "val_loss": -0.7, "pseudo_dice": 0.9}
    append_line(lived.stage("train_fold_0").epochs_file, Epoch.model_validate({**LOSSES, **last}))
    by_hand = settings.folder("results") / "Dataset003_X" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0"
    by_hand.mkdir(parents=True)
    log = "now: Epoch 7\nnow: train_loss -0.5\nnow: val_loss nan\n"
    (by_hand / "training_log_1.txt").write_text(log, encoding="utf-8")

    foreign, ours = ask(settings, "nnunet_runs")["runs"]

    assert (ours["train_loss"], ours["val_loss"], ours["pseudo_dice"]) == (-0.8123, -0.7, 0.9)
    assert (
        foreign["train_loss"] == -0.5 and "val_loss" not in foreign and "val_loss is not a number" in foreign["detail"]
    )


def test_a_run_that_trains_nothing_has_its_kind_and_no_fold_that_is_none(settings: Settings) -> None:
    for number, job in enumerate(JOBS):
        spec = StageSpec(name=job.kind, kind="evaluate", configuration="2d")
        record = record_of(settings, spec, run_id=f"d001-run{number}", created_at=1000 + number, job=job)
        record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)

    lines = ask(settings, "nnunet_runs")["runs"]

    assert [line["kind"] for line in lines] == [job.kind for job in reversed(JOBS)]
    assert not any("fold" in line for line in lines)
    assert {"best", "files"}.isdisjoint(str(line.get("configuration")) for line in lines)


@pytest.mark.usefixtures("failed_and_resumed")
@pytest.mark.parametrize(
    ("asked", "shown", "said"),
    [
        ({"dataset_id": 7}, 0, "No run matches dataset_id=7; nnunet_runs without it lists all."),
        ({"status": "success"}, 0, "No run matches status='success'"),
        ({"limit": 1}, 1, "1 older runs are left out: limit shows more."),
        ({}, 2, "Left out, because run.json cannot be read: d001-2d-f0-lost."),
        ({}, 2, "Trainings by hand (nnUNetv2_train) are looked for in "),
    ],
)
def test_what_a_list_does_not_show_is_told(settings: Settings, asked: dict[str, Any], shown: int, said: str) -> None:
    lost: Path = StateDir(settings.state_dir).run("d001-2d-f0-lost").run_file
    lost.parent.mkdir()
    lost.write_text("{", encoding="utf-8")

    answer = ask(settings, "nnunet_runs", **asked)

    assert len(answer["runs"]) == shown
    assert said in " ".join([*answer["notes"], answer["next_step"]])


NOTE = "Does Dice_TopK help\nwith\x1b[31m small | lesions?\u202e" + " x" * 200


@pytest.fixture
def noted(settings: Settings) -> str:
    """A training that was asked for with a note, one without, and one that was started by hand."""
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    asked = TrainingRequest(dataset_id=1, configuration="2d", fold="3", device="cpu", note=NOTE)
    run, *_ = prepare_run(asked, settings)
    recorded(settings, "d002-2d-f0-with", at=1000, state=StageState(status="success"))
    by_hand = settings.folder("results") / "Dataset003_X" / "nnUNetTrainer__BigPlans__2d" / "fold_0"
    by_hand.mkdir(parents=True)
    (by_hand / "training_log_1.txt").write_text("now: Epoch 7\n", encoding="utf-8")
    return run.run_id


def test_a_note_is_on_one_line_in_the_list_and_whole_in_the_result(settings: Settings, noted: str) -> None:
    line = next(run for run in ask(settings, "nnunet_runs")["runs"] if run["run_id"] == noted)
    result = ask(settings, "nnunet_results", run_id=noted)

    assert line["note"].startswith("Does Dice_TopK help with small | lesions?") and line["note"].endswith("…")
    assert len(line["note"]) <= 100 and line["note"].replace("\ufffd", "").isprintable()
    assert result["note"].startswith(line["note"][:-1]) and result["note"].endswith(" x")
    assert "note" not in ask(settings, "nnunet_results", run_id="d002-2d-f0-with")
    with pytest.raises(ToolRefused, match="at most 500 characters"):
        ask(settings, "nnunet_training", dataset_id=1, note="n" * 501)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("dice_topk HELP", "d001"),
        ("tinY", "d001 d002"),
        ("trainerquick", "d002"),
        ("bigplans", "x003"),
        ("d002-2d-f0-W", "d002"),
        ("(a+)+$|.*", ""),
        (" ", "d001 d002 x003"),
    ],
)
@pytest.mark.usefixtures("noted")
def test_runs_are_found_by_text_in_note_and_names(settings: Settings, search: str, found: str) -> None:
    answer = ask(settings, "nnunet_runs", search=search)

    assert sorted(run["run_id"][:4] for run in answer["runs"]) == found.split()
    assert answer["total"] == len(answer["runs"]) and "cannot be read" not in " ".join(answer["notes"])
    assert found or "No run matches search=" in answer["next_step"]


@pytest.mark.usefixtures("noted")
def test_a_search_counts_what_it_does_not_show(settings: Settings) -> None:
    for search, total in (("tiny", 2), ("trainerquick", 1)):
        answer = ask(settings, "nnunet_runs", search=search, limit=1)

        assert (answer["shown"], answer["total"]) == (1, total)

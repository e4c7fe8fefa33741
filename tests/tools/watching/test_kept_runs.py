"""A server keeps runs that have succeeded from answer to answer, and sees every change of them at the next question."""

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nnunet_mcp.files import append_line, read_model, write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import EngineRecord, Epoch, Failure, Metrics, StageState
from nnunet_mcp.schemas.run_list import RunsAnswer, RunsRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.watching.runs import nnunet_runs
from tests.kit.tiny import ask, record_of, stage

NUMBERS = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"), 0.1)
WRONG = Failure(cause="the disk is full", evidence="No space left", remedy="Free some.")


def outcome(dice: float) -> ModelOutcome:
    return ModelOutcome(ok=True, metrics=Metrics(dice=dice, iou=0.5, validation_loss=0.1), per_class=(), cases=())


def train(run: RunDir, epoch: int) -> None:
    append_line(
        run.stage("train_fold_0").epochs_file, Epoch.model_validate({"epoch": epoch, "seconds": 1.0, **NUMBERS})
    )


@pytest.fixture
def finished(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A training that has succeeded after a preprocessing of an earlier run."""
    monkeypatch.setattr("nnunet_mcp.files.SETTLED_S", float("-inf"))
    specs = (stage("preprocess", reused=True).model_copy(update={"fold": None}), stage("train_fold_0"))
    run, _ = record_run(
        StateDir(settings.state_dir), record_of(settings, *specs, created_at=1000), [], repeat_window_s=0
    )
    write_model(run.stage("train_fold_0").outcome_file, outcome(0.9))
    train(run, 0)
    write_model(run.stage("train_fold_0").state_file, StageState(status="success"))
    return run


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of runs that are read."""
    found: list[str] = []

    def noted(path: Any, model: Any) -> Any:
        found.append(path.name)
        return read_model(path, model)

    monkeypatch.setattr("nnunet_mcp.runs.layout.read_model", noted)
    return found


@pytest.mark.usefixtures("finished")
def test_a_run_that_has_succeeded_is_read_once(settings: Settings, read: list[str]) -> None:
    first = ask(settings, "nnunet_runs")
    assert {"run.json", "state.json", "outcome.json"} <= set(read)
    read.clear()

    assert ask(settings, "nnunet_runs") == first
    assert read == []


@pytest.mark.usefixtures("finished")
def test_a_run_whose_files_were_written_just_now_is_read_again(
    settings: Settings, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further change in the same step of the clock would not be seen."""
    monkeypatch.setattr("nnunet_mcp.files.SETTLED_S", 60.0)
    ask(settings, "nnunet_runs")
    read.clear()

    ask(settings, "nnunet_runs")

    assert {"run.json", "state.json"} <= set(read)


def state(status: str, **more: Any) -> Callable[[RunDir], None]:
    found = StageState.model_validate({"status": status, **more})
    return lambda run: write_model(run.stage("train_fold_0").state_file, found)


def another_record(run: RunDir) -> None:
    record = run.record()
    assert record is not None
    write_model(run.run_file, record.model_copy(update={"dataset_name": "Dataset001_Other"}))


def starts_again(run: RunDir) -> None:
    """As a supervisor does with a stage that it starts anew."""
    here = mark_of(os.getpid())
    write_model(run.engine_file, EngineRecord(supervisor=here))
    write_model(run.stage("train_fold_0").state_file, StageState(status="running", attempt=2, process=here))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        pytest.param(starts_again, {"status": "running"}, id="it runs again"),
        pytest.param(state("error", failure=WRONG), {"status": "error", "problem": WRONG.cause}, id="it has failed"),
        pytest.param(
            lambda run: run.stage("train_fold_0").state_file.write_text('{"status":"running"}', encoding="utf-8"),
            {"status": "interrupted"},
            id="a file is written in place",
        ),
        pytest.param(
            lambda run: run.stage("train_fold_0").state_file.unlink(), {"status": "interrupted"}, id="a file is gone"
        ),
        pytest.param(
            lambda run: write_model(run.stage("train_fold_0").outcome_file, outcome(0.8)),
            {"status": "success", "dice": 0.8},
            id="another result",
        ),
        pytest.param(lambda run: train(run, 1), {"status": "success", "epoch": "2"}, id="a further epoch"),
        pytest.param(another_record, {"dataset": "Dataset001_Other"}, id="another record"),
    ],
)
def test_what_has_changed_is_seen_at_the_next_question(
    settings: Settings, finished: RunDir, change: Callable[[RunDir], None], seen: dict[str, Any]
) -> None:
    for _ in range(2):
        (before,) = ask(settings, "nnunet_runs")["runs"]
        assert (before["status"], before["dice"], before["epoch"]) == ("success", 0.9, "1")

    change(finished)

    (after,) = ask(settings, "nnunet_runs")["runs"]
    assert {name: after.get(name) for name in seen} == seen


def test_a_run_that_is_new_or_gone_is_seen_at_the_next_question(settings: Settings, finished: RunDir) -> None:
    def listed() -> list[str]:
        return [run["run_id"] for run in ask(settings, "nnunet_runs")["runs"]]

    assert listed() == listed() == [finished.run_id]

    record = record_of(settings, run_id="d001-2d-f1-nnnn")
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    assert listed() == ["d001-2d-f1-nnnn", finished.run_id]

    finished.remove()
    assert listed() == ["d001-2d-f1-nnnn"]


def test_many_who_ask_at_once_get_the_same_list(settings: Settings, finished: RunDir) -> None:
    for number in range(30):
        shutil.copytree(finished.path, finished.path.with_name(f"d001-2d-f0-{number:04d}"))
    answers: list[RunsAnswer] = []
    asked, interval = RunsRequest(limit=200), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(6):
                for path in finished.path.parent.glob("*/run.json"):
                    path.touch()  # all is read anew
                answers += pool.map(lambda _: nnunet_runs(asked, settings), range(16))
    finally:
        sys.setswitchinterval(interval)

    assert len(answers[0].runs) == 31
    assert all(answer == answers[0] for answer in answers)

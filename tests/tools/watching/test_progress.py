"""Where a run stands, how long it has taken and will take, and when to ask again."""

import os
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.liveness import host_name, mark_of
from nnunet_mcp.runs.engines import engine_of
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.machine import capacity
from nnunet_mcp.runs.pace import scheduled
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import (
    EngineRecord,
    Epoch,
    Failure,
    Metrics,
    Outcome,
    Progress,
    StageSpec,
    StageState,
)
from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.watching.progress import wait_for_news
from nnunet_mcp.tools.watching.snapshot import RunSnapshot, snapshot
from tests.kit.lab import Answer, structured
from tests.kit.tiny import ask, record_of, stage

RUN = "d001-2d-f0-tttt"
FOLDS = tuple(stage(f"train_fold_{fold}") for fold in range(5))
NAMES = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice")


def recorded(settings: Settings, *, age_s: float = 0.0, alive: bool = True, **fields: Any) -> RunDir:
    """A run of five folds that was recorded so long ago; this process is its supervisor while it is alive."""
    record = record_of(settings, *FOLDS, created_at=time.time() - age_s, **fields)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    mark = mark_of(os.getpid())
    assert mark is not None
    write_model(
        run.engine_file, EngineRecord(supervisor=mark if alive else mark.model_copy(update={"start_time": 1.0}))
    )
    return run


def trains(run: RunDir, fold: int, epochs: int, seconds: float, *, heartbeat: float | None = None) -> None:
    """A fold that has trained so many of a hundred epochs."""
    trained(run, fold, *({"epoch": number, "seconds": seconds} for number in range(epochs)), heartbeat=heartbeat)


def trained(run: RunDir, fold: int, *lines: dict[str, Any], heartbeat: float | None = None) -> None:
    """A fold that trains, after these of a hundred epochs."""
    stage, now = run.stage(f"train_fold_{fold}"), time.time()
    write_model(stage.state_file, StageState(status="running", started_at=now - 60, process=mark_of(os.getpid())))
    write_model(stage.progress_file, Progress(phase="training", heartbeat=heartbeat or now, epochs=100))
    for line in lines:
        append_line(stage.epochs_file, Epoch.model_validate({**dict.fromkeys(NAMES, 0.1), **line}))


@pytest.mark.parametrize(
    ("pressure", "host", "verdict"),
    [
        ("72.50", None, "slow"),
        ("59.90", None, "starting"),
        ("72.50", "elsewhere", "starting"),
        (None, None, "starting"),
    ],
)
def test_a_machine_that_swaps_is_told_with_the_remedy(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pressure: str | None,
    host: str | None,
    verdict: str,
) -> None:
    """The file is as Linux writes it."""
    run = recorded(settings, host=host or host_name())
    trains(run, 0, 0, 1.0)
    monkeypatch.setattr(capacity, "OWN_GROUPS", tmp_path / "none")
    monkeypatch.setattr(capacity, "PRESSURE", tmp_path / "memory")
    if pressure:
        lines = (f"{name} avg10=1.00 avg60={pressure if name == 'full' else 99.0} total=1" for name in ("some", "full"))
        (tmp_path / "memory").write_text("\n".join(lines), encoding="utf-8")

    health = ask(settings, "nnunet_progress", run_id=RUN)["health"]

    assert health["verdict"] == verdict
    assert (f"{float(pressure or 0):.0f}% of the time. End other processes" in health["detail"]) == (verdict == "slow")


def test_a_run_that_died_took_as_long_as_it_was_heard_of(settings: Settings) -> None:
    run = recorded(settings, age_s=36_000, alive=False)
    trains(run, 0, 3, 10.0, heartbeat=time.time() - 36_000 + 90)
    state = StageState(status="running", started_at=time.time() - 36_000, process=None)
    write_model(run.stage("train_fold_0").state_file, state)

    now = ask(settings, "nnunet_progress", run_id=RUN)

    assert now["status"] == "interrupted" and now["elapsed_s"] == pytest.approx(90, abs=2)


COMPILED = {"epoch": 0, "seconds": 57.9, "compile_s": 55.1}
# What is told for saving and validating where neither plans nor earlier runs say more.
UNKNOWN_VALIDATION_S = 32
RESTORED = [{"epoch": number, "seconds": 2.8, "restored": True} for number in range(1, 4)]


@pytest.mark.parametrize(
    ("epochs", "seconds"),
    [
        pytest.param([COMPILED], 2.8, id="what was compiled is taken off the only epoch"),
        pytest.param([COMPILED, {"epoch": 1, "seconds": 2.8}], 2.8, id="a second epoch counts alone"),
        pytest.param([{"epoch": 0, "seconds": 150.0}, {"epoch": 1, "seconds": 30.0}], 30.0, id="a cold first epoch"),
        pytest.param([*RESTORED, {"epoch": 4, "seconds": 24.3}], 2.8, id="the first epoch of a resume"),
        pytest.param(
            [*({"epoch": n, "seconds": 30.0} for n in range(6)), {"epoch": 6, "seconds": 300.0}], 30.0, id="one outlier"
        ),
    ],
)
def test_the_time_left_is_told_from_usual_epochs(
    settings: Settings, epochs: list[dict[str, Any]], seconds: float
) -> None:
    run = recorded(settings, device="cuda")
    for fold in range(5):
        trained(run, fold, *epochs)

    now = ask(settings.model_copy(update={"gpus": 5}), "nnunet_progress", run_id=RUN)

    left = seconds * (99 - epochs[-1]["epoch"])
    assert now["epoch_s"] == pytest.approx(seconds)
    assert now["eta"]["low_s"] <= left + UNKNOWN_VALIDATION_S <= now["eta"]["high_s"]
    assert now["eta_s"] < 24 * (99 - epochs[-1]["epoch"]) or seconds > 24, "one slow epoch is not multiplied"


@pytest.mark.parametrize(("epoch_s", "seconds"), [(10.0, "60 s"), (126.0, "282 s")])
def test_a_cancelled_training_may_finish_its_epoch_however_long_it_is(
    settings: Settings, epoch_s: float, seconds: str
) -> None:
    trains(recorded(settings), 0, 3, epoch_s)

    assert seconds in ask(settings, "nnunet_cancel", run_id=RUN)["detail"]


def test_a_grace_that_somebody_set_is_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNUNET_MCP_GRACE_S", "7")
    trains(recorded(settings), 0, 3, 126.0)

    assert "7 s" in ask(Settings(), "nnunet_cancel", run_id=RUN)["detail"]


def test_the_share_of_an_epoch_that_waits_for_data_is_told(settings: Settings) -> None:
    trained(recorded(settings, device="cuda"), 0, {"epoch": 0, "seconds": 10.0, "wait_s": 6.0})

    now = ask(settings, "nnunet_progress", run_id=RUN)

    assert (now["wait"], now["health"]["verdict"]) == (0.6, "starved")


@pytest.mark.parametrize(("status", "said"), [("running", "predict is working."), ("success", "Finished.")])
def test_a_prediction_is_not_spoken_of_in_epochs(settings: Settings, status: Any, said: str) -> None:
    spec = StageSpec(name="predict", kind="predict", configuration="2d")
    record = record_of(settings, spec)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    write_model(run.stage("predict").state_file, StageState(status=status, process=mark_of(os.getpid())))
    if status == "success":
        write_model(run.stage("predict").outcome_file, Outcome(ok=True))

    now = ask(settings, "nnunet_progress", run_id=RUN)

    assert now["health"] == {"verdict": "ok", "detail": said}


def test_a_phase_that_has_just_begun_counts_from_0(settings: Settings) -> None:
    spec = StageSpec(name="predict", kind="predict", configuration="2d")
    run, _ = record_run(StateDir(settings.state_dir), record_of(settings, spec), [], repeat_window_s=0)
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    write_model(run.stage("predict").state_file, StageState(status="running", process=mark_of(os.getpid())))
    begun = Progress(phase="looking at the images", heartbeat=time.time(), total=12)
    write_model(run.stage("predict").progress_file, begun)

    assert ask(settings, "nnunet_progress", run_id=RUN)["phase"] == "looking at the images 0/12"


HOT = {"train_loss": 7e16, "val_loss": 2e22, "learning_rate": 1e6}
AT_REST = "After epoch 1 of 100: "


@pytest.mark.parametrize(
    ("status", "line", "verdict", "said", "then"),
    [
        ("queued", None, "waiting", "behind another run", "nnunet_progress("),
        ("running", {}, "ok", "Too few epochs", "Still running"),
        ("running", HOT, "diverging", "learning rate is 1e+06; nnU-Net's is 0.01", "nnunet_cancel("),
        ("running", dict.fromkeys(NAMES), "nan", "not a number in epoch 1 of 100", "nnunet_cancel("),
        ("cancelled", {}, "ended", f"{AT_REST}cancelled", "Cancelled. "),
        (
            "cancelled",
            dict.fromkeys(NAMES),
            "nan",
            "not a number",
            "remove the cause first. Ask whether",
        ),
        ("interrupted", {}, "ended", AT_REST, "Interrupted. "),
        ("error", HOT, "ended", f"{AT_REST}see failure", "Failed: "),
    ],
)
def test_health_never_contradicts_the_status_and_the_next_step_follows_from_it(
    settings: Settings, status: Any, line: dict[str, Any] | None, verdict: str, said: str, then: str
) -> None:
    run = recorded(settings, alive=status in ("queued", "running"), age_s=0 if status == "queued" else 3600)
    if line is not None:
        trained(run, 0, {"epoch": 0, "seconds": 10.0, **line})
    failure = Failure(cause="it broke", evidence="", remedy="mend it") if status == "error" else None
    state = StageState(status=status, failure=failure, process=mark_of(os.getpid()), waits_for="behind another run")
    if status == "interrupted":
        state = state.model_copy(update={"status": "running", "process": None})
    write_model(run.stage("train_fold_0").state_file, state)

    now = ask(settings, "nnunet_progress", run_id=RUN)

    assert (now["status"], now["health"]["verdict"]) == (status, verdict)
    assert said in now["health"]["detail"] and then in now["next_step"]


def test_folds_that_train_side_by_side_all_count(settings: Settings) -> None:
    run = recorded(settings, device="cuda")
    for fold in range(2):
        trains(run, fold, 50, 10.0)
    two_gpus = settings.model_copy(update={"gpus": 2})

    now = ask(two_gpus, "nnunet_progress", run_id=RUN)

    assert now["percent"] == pytest.approx(100 * 2 * 0.5 * 0.95 / 5, abs=0.1)
    # Each GPU has half a fold left; then one trains two more folds and the other one.
    told = now["eta"]["low_s"] + 3 * UNKNOWN_VALIDATION_S
    assert now["eta_s"] == pytest.approx(500 + 2 * 1000 + 3 * UNKNOWN_VALIDATION_S, abs=120), told


def test_slurm_trains_the_rest_as_many_at_a_time_as_it_may(settings: Settings) -> None:
    record = record_of(settings, *FOLDS, engine="slurm", slurm={"parallel": "3"})

    assert engine_of(record).lanes(record, 5, settings) == 3
    assert scheduled([50.0, 50.0, 50.0], [100.0, 100.0], 3) == 150.0


def test_every_answer_about_a_live_run_says_when_to_ask_again(settings: Settings) -> None:
    run = recorded(settings)
    trains(run, 0, 3, 40.0)
    run.stage("train_fold_0").log_file.write_text("epoch 1\n", encoding="utf-8")

    asked = {"run_id": RUN}
    answers = [ask(settings, f"nnunet_{tool}", **asked) for tool in ("progress", "results", "logs")]
    answers.append(ask(settings, "nnunet_runs"))

    again, low_s = answers[0]["retry_after_s"], answers[0]["eta"]["low_s"]
    assert again == min(300, low_s) and [answer["retry_after_s"] for answer in answers] == [again] * 4
    assert all(answer["next_step"] for answer in answers)


def test_a_run_at_rest_is_not_worth_asking_again(settings: Settings) -> None:
    run = recorded(settings, alive=False)
    write_model(run.stage("train_fold_0").state_file, StageState(status="cancelled"))
    run.stage("train_fold_0").log_file.write_text("epoch 1\n", encoding="utf-8")

    for tool in ("progress", "results", "logs"):
        assert ask(settings, f"nnunet_{tool}", run_id=RUN)["retry_after_s"] == 0
    assert ask(settings, "nnunet_runs")["retry_after_s"] == 0


@pytest.mark.parametrize(("waited_s", "again_s"), [(10, 5), (600, 60), (86_400, 300)])
def test_who_has_waited_long_need_not_ask_soon(settings: Settings, waited_s: int, again_s: int) -> None:
    run = recorded(settings, age_s=waited_s)
    write_model(run.stage("train_fold_0").state_file, StageState(status="queued", waits_for="behind another run"))

    assert ask(settings, "nnunet_progress", run_id=RUN)["retry_after_s"] == pytest.approx(again_s, abs=1)


@pytest.mark.parametrize("tool", ["nnunet_progress", "nnunet_dashboard", "nnunet_dashboard_data"])
def test_only_a_server_that_may_change_something_goes_on_with_a_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    started: list[str] = []
    go_on = "nnunet_mcp.runs.local.engine.LocalEngine.go_on_starting"
    monkeypatch.setattr(go_on, lambda engine, run, *_: started.append(run.run_id))
    recorded(settings)

    async def asked(*, read_only: bool) -> Answer:
        async with Client(create_server(settings, read_only=read_only)) as client:
            await client.read_resource(f"nnunet://runs/{RUN}")
            return structured(await client.call_tool(tool, {"run_id": RUN}))

    anyio.run(lambda: asked(read_only=True))
    assert started == []
    anyio.run(lambda: asked(read_only=False))
    assert started == [RUN]


def test_a_training_by_hand_is_not_hidden_by_many_runs(settings: Settings) -> None:
    for number in range(3):
        record = record_of(settings, run_id=f"d001-2d-f0-run{number}", created_at=time.time() - 3600)
        record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    fold = settings.folder("results") / "Dataset001_Tiny" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_all"
    fold.mkdir(parents=True)
    (fold / "training_log_2026_1_1_00_00_00.txt").write_text("Epoch 3\n", encoding="utf-8")

    shown = ask(settings, "nnunet_runs", limit=2)

    assert [line["external"] for line in shown["runs"]] == [True, False]
    assert (shown["runs"][0]["fold"], shown["total"]) == ("full", 4)


def test_who_waits_for_an_epoch_is_not_told_before_and_then_at_once(settings: Settings) -> None:
    run = recorded(settings)
    trains(run, 0, 3, 40.0)

    now = ask(settings, "nnunet_progress", run_id=RUN, until=3)
    still = ask(settings, "nnunet_progress", run_id=RUN, until=5, wait_s=0.2)
    end = ask(settings, "nnunet_progress", run_id=RUN, until="end", wait_s=0.2)

    assert (now["epoch"], still["epoch"]) == (3, 3)
    assert (still["retry_after_s"], end["retry_after_s"]) == (80, 300), "two epochs; the longest there is"


def test_what_changes_before_the_awaited_epoch_is_no_answer(settings: Settings) -> None:
    run = recorded(settings)
    trains(run, 0, 1, 40.0)
    view = snapshot(settings, RUN)

    def again() -> RunSnapshot:
        number = len(run.stage("train_fold_0").epochs())
        append_line(run.stage("train_fold_0").epochs_file, line_of(number))
        return snapshot(settings, RUN)

    seen = anyio.run(lambda: wait_for_news(view, again, 20, until=4))

    assert seen.moment.epochs_done == 4


def line_of(epoch: int) -> Epoch:
    return Epoch.model_validate({**dict.fromkeys(NAMES, 0.1), "epoch": epoch, "seconds": 40.0})


def test_the_last_progress_answer_has_the_dice(settings: Settings) -> None:
    record = record_of(settings)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    write_model(run.stage("train_fold_0").state_file, StageState(status="success"))
    measured = ModelOutcome(ok=True, metrics=Metrics(dice=0.87654, iou=0.8, validation_loss=None))
    write_model(run.stage("train_fold_0").outcome_file, measured)

    assert ask(settings, "nnunet_progress", run_id=RUN)["dice"] == 0.8765


def test_a_fold_that_waits_again_keeps_its_part_of_the_percentage(settings: Settings) -> None:
    run = recorded(settings)
    trains(run, 0, 50, 10.0)
    trains(run, 1, 0, 10.0)
    half = Progress(phase="training", heartbeat=time.time(), epochs=100, part=0.5)
    write_model(run.stage("train_fold_1").progress_file, half)
    before = ask(settings, "nnunet_progress", run_id=RUN)["percent"]

    write_model(run.stage("train_fold_1").state_file, StageState(status="queued"))

    assert ask(settings, "nnunet_progress", run_id=RUN)["percent"] == before


def test_after_a_failure_only_what_still_runs_counts_for_the_time_left(settings: Settings) -> None:
    run = recorded(settings)
    trains(run, 0, 50, 10.0)
    whole = ask(settings, "nnunet_progress", run_id=RUN)["eta_s"]
    failed = Failure(cause="it broke", evidence="", remedy="mend it")
    write_model(run.stage("train_fold_1").state_file, StageState(status="error", failure=failed))

    assert ask(settings, "nnunet_runs")["runs"][0]["eta_s"] < whole / 3

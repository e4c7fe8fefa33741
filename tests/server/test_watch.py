"""Following a run at the terminal: bars, lines, Ctrl-C. A stand-in trains six epochs."""

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nnunet_mcp import nnunet_training
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.schemas.records import ACTIVE
from nnunet_mcp.schemas.run_list import CancelRequest
from nnunet_mcp.server.terminal.codes import Code
from nnunet_mcp.server.terminal.screen import duration
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.watching.runs import nnunet_cancel
from nnunet_mcp.tools.watching.snapshot import snapshot
from tests.chaos import stand_in_worker
from tests.kit.lab import FEW, Lab, make_tiny_plans, msd_subset, until
from tests.kit.terminal import as_json, interrupted, on_a_terminal, terminal
from tests.kit.tiny import ask, make_dataset

TRAIN = ("train", "7", "--configuration", "2d", "--fold", "0", "--device", "cpu")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
STAGES = ("preprocess", "train_fold_0")


@pytest.fixture
def stand_in(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A dataset, and a worker that only pretends; nothing of the runs is left afterwards."""
    program = tmp_path / "worker python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in_worker.__file__}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", str(program))
    monkeypatch.setenv("STAND_IN_PACE_S", "0.1")
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")
    yield settings
    for run_id in StateDir(settings.state_dir).run_ids():
        nnunet_cancel(CancelRequest(run_id=run_id, force=True), settings)
        assert until(lambda run_id=run_id: snapshot(settings, run_id).judged.status not in ACTIVE)  # type: ignore[misc]
        engine = StateDir(settings.state_dir).run(run_id).engine()
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(engine.supervisor.pid if engine else -1).wait(timeout=10)


def test_the_python_function_waits_and_returns_what_nnunet_results_answers(stand_in: Settings) -> None:
    found = nnunet_training(dataset_id=7, configuration="2d", fold="0", device="cpu")

    assert found["status"] == "success" and "nnunet_predict(" in found["next_step"]
    assert found == ask(stand_in, "nnunet_results", run_id=found["run_id"])


def test_train_watch_tells_each_change_in_a_plain_line_and_ends_with_the_result(stand_in: Settings) -> None:
    done = terminal(*TRAIN, "--watch")

    assert (done.returncode, done.stderr) == (Code.DONE, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("run d007-2d-f0-")
    epochs = [line for line in lines if re.search(r"train_fold_0, .*epoch [1-6]/6, .*pseudo Dice 0\.100", line)]
    assert 1 <= len(epochs) <= 12
    assert any(line.split() == ["Dice", "0.5000"] for line in lines)
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert len(lines) < 60 and max(map(len, lines)) < 240


@pytest.mark.heavy
def test_on_a_terminal_each_stage_has_a_bar(stand_in: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_PACE_S", "0.5")

    code, written = on_a_terminal(*TRAIN, "--watch")

    assert code == Code.DONE, written
    assert "━" in written and "100%" in written and SHOW_CURSOR in written
    for text in (*STAGES, "whole run", "epoch", "pseudo Dice", "left", "IoU"):
        assert text in written
    assert " Dice 0.1" not in written.replace("pseudo Dice 0.1", "")


@pytest.mark.heavy
def test_ctrl_c_ends_the_watching_and_never_the_run(stand_in: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_PACE_S", "30")

    done = interrupted(*TRAIN, "--watch", after=lambda line: "running" in line)

    run_id = done.stdout.split()[1]
    assert done.returncode == Code.CTRL_C
    assert f"run {run_id} goes on" in done.stderr and "Traceback" not in done.stderr
    assert snapshot(stand_in, run_id).judged.status == "running"
    assert terminal("results", run_id).returncode == Code.NOT_YET
    assert terminal("progress", run_id).returncode == Code.DONE
    again = interrupted("progress", run_id, "--watch", after=lambda line: "running" in line)
    assert (again.returncode, snapshot(stand_in, run_id).judged.status) == (Code.CTRL_C, "running")

    assert terminal("cancel", run_id, "--force").returncode == Code.DONE
    assert terminal("progress", run_id, "--watch").returncode == Code.STOPPED
    assert terminal("results", run_id).returncode == Code.STOPPED


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a termination"])
def test_a_watch_that_is_ended_gives_the_terminal_its_cursor_back(
    stand_in: Settings, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("STAND_IN_PACE_S", "30")

    ended, written = on_a_terminal(*TRAIN, "--watch", send=number, at="whole run")

    assert ended == Code.CTRL_C and "Traceback" not in written
    assert HIDE_CURSOR in written and written.rindex(SHOW_CURSOR) > written.rindex(HIDE_CURSOR)
    [run_id] = StateDir(stand_in.state_dir).run_ids()
    assert snapshot(stand_in, run_id).judged.status in ACTIVE


@pytest.mark.heavy
def test_json_of_a_watched_training_is_its_result_alone(stand_in: Settings) -> None:
    done = terminal(*TRAIN, "--watch", "--json")

    assert json.loads(done.stdout)["metrics"]["dice"] == 0.5
    assert (done.returncode, done.stderr) == (Code.DONE, "")


@pytest.mark.heavy
def test_train_returns_at_once_with_the_run_and_the_next_command(
    stand_in: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_PACE_S", "30")

    done = terminal(*TRAIN)

    [run_id] = StateDir(stand_in.state_dir).run_ids()
    assert done.returncode == Code.DONE and f"nnunet-mcp progress {run_id} --watch" in done.stdout
    second = terminal(*TRAIN, "--npz")
    assert second.returncode == Code.REFUSED and f"nnunet-mcp cancel {run_id}" in second.stderr
    assert until(lambda: as_json("runs", "--status", "running")["total"] == 1)  # between two stages it is queued


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59.6, "1 min"), (3600, "1 h"), (5025, "1 h 23 min"), (90061, "1 d 1 h")]
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.long
def test_a_real_training_is_watched_to_its_success(
    tmp_path: Path, hippocampus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path / "work", FEW)
    for name in lab.environment.keys() - os.environ.keys():
        monkeypatch.setenv(name, lab.environment[name])
    source = msd_subset(hippocampus, tmp_path / "Task04", cases=10)
    assert terminal("prepare", str(source), "4", "Hippocampus").returncode == Code.DONE
    first = ("train", "4", "--configuration", "3d_fullres", "--fold", "0", "--device", "cpu")
    assert terminal(*first, "--trainer", "OneStepTrainer", "--watch").returncode == Code.DONE
    make_tiny_plans(lab.folder / "preprocessed" / "Dataset004_Hippocampus")

    code, written = on_a_terminal(*first, "--trainer", "ShortTrainer", "--plans-identifier", "tinyPlans", "--watch")

    assert code == Code.DONE, written
    assert "Anterior" in written and "pseudo Dice" in written
    [done] = [run for run in as_json("runs")["runs"] if "ShortTrainer" in str(as_json("results", run["run_id"]))]
    assert 0 <= done["dice"] <= 1

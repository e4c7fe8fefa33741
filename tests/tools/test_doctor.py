"""The doctor names what would make trainings fail, with the fix, and changes nothing."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.locks import Lock
from nnunet_mcp.nnunet import installed
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.local.places import slot_path
from nnunet_mcp.runs.machine.asking import Question
from nnunet_mcp.schemas.system import Check, DoctorRequest
from nnunet_mcp.server.terminal.codes import Code
from nnunet_mcp.server.terminal.spelling import spelled
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools import doctor, machine_checks as checks
from nnunet_mcp.tools.doctor import TESTED, device_check, examine, version_checks
from nnunet_mcp.tools.system import find_problems
from tests.kit.gpus import Card, nvidia_smi_shows
from tests.kit.lab import stand_in_nvidia_smi, until
from tests.kit.terminal import terminal
from tests.kit.tiny import digest
from tests.server.test_answers import run_at

HEALTHY: dict[str, Any] = {"python": "3.11.7", "errors": {}, "cuda": 0, "mps": True, **TESTED}


@pytest.fixture(autouse=True)
def a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The configuration of whoever runs the tests stays out of them."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    yield


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python for nnU-Net that answers the probe with what stands in a file."""
    answer = tmp_path / "answer"
    program = tmp_path / "worker python"
    real = f'case "$3" in *installed) exec "{sys.executable}" "$@";; esac'
    program.write_text(f'#!/bin/sh\n{real}\necho a warning; cat "{answer}"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", str(program))
    answer.write_text(json.dumps(HEALTHY), encoding="utf-8")
    return answer


def looked_at(settings: Settings, *, quick: bool = True) -> dict[str, Check]:
    """The checks by name; of several with one name the last."""
    return {check.name: check for check in examine(DoctorRequest(quick=quick), settings).checks}


@pytest.mark.heavy
def test_a_healthy_machine_has_no_problem_and_nothing_is_changed(settings: Settings, worker: Path) -> None:
    before = digest(settings.folder("raw").parent)

    done = terminal("doctor", "--json")
    told = terminal("doctor", "--quick")

    answer = json.loads(done.stdout)
    assert [check for check in answer["checks"] if check["level"] == "problem"] == []
    assert (done.returncode, done.stderr, answer["problems"]) == (Code.DONE, "", 0)
    assert {"nnUNet_raw", "nnUNet_results", "state folder", "torch", "device", "server's start"} <= {
        check["name"] for check in answer["checks"]
    }
    assert told.returncode == Code.DONE and "0 problem(s)" in told.stdout and "\x1b" not in told.stdout
    assert digest(settings.folder("raw").parent) == before


def test_a_problem_is_told_with_its_fix_and_the_exit_code_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_raw", "$HOME/raw")

    done = terminal("doctor", "--quick")

    assert done.returncode == Code.FAILED
    assert "problem  nnUNet_raw: nnUNet_raw ($HOME/raw) holds an unexpanded variable." in done.stdout
    assert "→ Write the whole path into nnUNet_raw" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("'/data/raw'", "quotes or blanks around it"),
        ("/data/raw ", "quotes or blanks around it"),
        (r"C:\data\raw", "a path of Windows"),
        ("nnunet/raw", "is relative"),
    ],
)
def test_a_folder_variable_with_a_slip_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.setenv("nnUNet_raw", given)

    check = checks.folder_check(Settings(), "raw")

    assert check.level == "problem" and said in check.detail and "whole path into nnUNet_raw" in check.fix


def test_a_torchvision_that_does_not_match_is_a_problem(settings: Settings, worker: Path) -> None:
    error = "RuntimeError: operator torchvision::nms does not exist"
    worker.write_text(json.dumps({**HEALTHY, "torchvision": "0.20.0", "errors": {"trainers": error}}), encoding="utf-8")

    found = looked_at(Settings(), quick=False)

    assert found["torchvision"].level == "warning" and "tested with" in found["torchvision"].detail
    assert found["trainers"].level == "problem" and "torchvision==" in found["trainers"].fix


@pytest.mark.parametrize(
    "said", ["", *(pytest.param(said, marks=pytest.mark.heavy) for said in ("not json", "[]", '{"no": "errors"}'))]
)
def test_a_python_that_says_nothing_useful_is_a_problem(settings: Settings, worker: Path, said: str) -> None:
    worker.write_text(said, encoding="utf-8")

    found = looked_at(Settings(), quick=False)["nnU-Net's Python"]

    assert found.level == "problem" and found.detail and "-m nnunet_mcp.worker.asks.probe" in found.fix


def test_a_python_that_takes_too_long_is_not_waited_for(
    settings: Settings, worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(os.environ["NNUNET_MCP_WORKER_PYTHON"]).write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    monkeypatch.setattr(doctor, "PROBE_S", 0.2)
    monkeypatch.setattr(installed, "ASK_S", 0.2)

    found = looked_at(Settings(), quick=False)

    assert found["nnU-Net's Python"].level == "warning" and found["nnU-Net"].level == "problem"


def test_a_gpu_that_pytorch_cannot_use_is_a_problem() -> None:
    assert device_check(["NVIDIA H100"], cuda=0, mps=False).level == "problem"
    assert device_check(["NVIDIA H100"], cuda=1, mps=False).level == "ok"
    assert device_check([], cuda=0, mps=True).level == "ok"
    assert device_check([], cuda=0, mps=False).level == "warning"


@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ('{"cuda": "13.0", "devices": [{"name": "NVIDIA H200"}]}', "ok", "NVIDIA H200, CUDA 13.0"),
        (
            '{"devices": [{"name": "Tesla V100", "problem": "this PyTorch has no kernels for its capability 7.0"}]}',
            "problem",
            "Tesla V100: this PyTorch has no kernels",
        ),
        ("Segmentation fault", "problem", "PyTorch cannot compute"),
    ],
)
def test_a_gpu_that_can_be_counted_must_also_compute(
    settings: Settings, worker: Path, no_gpus: None, tmp_path: Path, said: str, level: str, words: str
) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", "NVIDIA H200"))
    worker.write_text(json.dumps({**HEALTHY, "cuda": 1}), encoding="utf-8")
    program = Path(os.environ["NNUNET_MCP_WORKER_PYTHON"])
    step = f"case \"$3\" in *cuda) echo '{said}'; exit;; esac"
    program.write_text(program.read_text("utf-8").replace("echo a", f"{step}\necho a"), encoding="utf-8")

    found = {name: check for name, check in looked_at(Settings(), quick=False).items() if name.startswith("step")}

    assert [(check.level, words in check.detail) for check in found.values()] == [(level, True)], found


def test_a_step_that_never_comes_back_is_a_problem_and_not_waited_for(
    settings: Settings, worker: Path, no_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "STEP", Question("a step", wait_s=0.3, end_s=0.3))
    worker.write_text(json.dumps({**HEALTHY, "cuda": 1}), encoding="utf-8")
    program = Path(os.environ["NNUNET_MCP_WORKER_PYTHON"])
    before = program.read_text("utf-8")
    program.write_text(before.replace("echo a", 'case "$3" in *cuda) exec sleep 600;; esac\necho a'), encoding="utf-8")

    found = looked_at(Settings(), quick=False)["step on the GPU"]

    assert found.level == "problem" and "a step does not answer within" in found.detail
    program.write_text(before, encoding="utf-8")
    assert until(lambda: "PyTorch cannot compute" in looked_at(Settings(), quick=False)["step on the GPU"].detail)


def test_a_gpu_that_is_there_and_cannot_be_used_is_a_problem_and_a_lost_one_of_several_a_warning(
    settings: Settings, no_gpus: None, tmp_path: Path
) -> None:
    stand_in_nvidia_smi(tmp_path, "echo Driver/library version mismatch; exit 18")
    found = looked_at(Settings(worker_python=str(tmp_path / "none")))["GPU"]
    assert found.level == "problem" and "Driver/library version mismatch" in found.detail

    nvidia_smi_shows(tmp_path, Card("GPU-aa11"), first="echo Unable to determine the device handle for GPU1")
    found = looked_at(Settings())["GPU"]
    assert found.level == "warning" and "device handle for GPU1" in found.detail


def test_a_slot_that_a_dead_run_holds_is_a_problem_and_names_the_command(settings: Settings) -> None:
    run = run_at(settings, "error")
    lock = Lock(slot_path(StateDir(settings.state_dir), "cpu", "0"))
    assert lock.try_acquire({"run_id": run.run_id, "stage": "train_fold_0"})

    found = looked_at(settings)["cpu slot 0"]
    lock.release()

    assert found.level == "problem" and f"nnunet-mcp cancel {run.run_id} --force" in spelled(found.fix)
    assert "cpu slot 0" not in looked_at(settings)


def test_what_is_left_of_hand_made_trainings_and_imports_is_named(settings: Settings) -> None:
    fold = settings.folder("results") / "Dataset007_Tiny" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0"
    fold.mkdir(parents=True)
    (fold / "training_log_2026_1_1.txt").write_text("12:00: Epoch 3 \n", encoding="utf-8")
    (settings.folder("raw") / ".importing-Dataset008_Half-x").mkdir()

    found = looked_at(settings)

    assert found["by hand"].level == "warning" and str(fold) in found["by hand"].detail
    assert found["import"].level == "warning" and "Dataset008_Half" in found["import"].detail


def test_a_state_folder_without_locks_is_a_problem(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lock, "try_acquire", lambda *_: True)  # a file system that grants every lock
    assert looked_at(settings)["state folder"].level == "problem"

    monkeypatch.undo()
    assert checks.state_check(settings).level == "ok"
    monkeypatch.setattr(Lock, "try_acquire", _no_locks)
    assert checks.state_check(settings).level == "problem"


def _no_locks(*_: object) -> bool:
    raise OSError(95, "Operation not supported")


def test_too_little_room_is_a_problem_for_the_tool_and_for_the_doctor(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "free_gb", lambda _: 1.0)
    sentences = list(find_problems(settings))

    assert len(sentences) == 3 and sentences[0].startswith("Only 1.0 GB are free in nnUNet_raw")
    assert looked_at(settings)["nnUNet_raw"].level == "problem"
    monkeypatch.setattr(checks, "free_gb", lambda _: 10.0)
    assert looked_at(settings)["nnUNet_raw"].level == "warning" and not list(find_problems(settings))


def test_the_tested_versions_are_those_of_the_constraints() -> None:
    text = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))

    assert {package: pinned[package] for package in TESTED} == TESTED
    assert all(check.level == "ok" for check in version_checks({**TESTED, "torch": TESTED["torch"] + "+cpu"}))


@pytest.mark.heavy
def test_the_real_probe_finds_the_real_trainers(settings: Settings) -> None:
    found = looked_at(settings, quick=False)

    assert found["trainers"].level == found["torch"].level == "ok", (found, sys.version)

"""How this machine's GPUs are found: by NVIDIA's library, by nvidia-smi, by what the driver writes down, by PyTorch.

The library and the programs are stand-ins that answer, are slow, fail, or never come back.
"""

import os
import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nnunet_mcp.runs.machine import gpus
from nnunet_mcp.runs.machine.asking import Question, StillHangs
from nnunet_mcp.runs.machine.gpus import Machine, visible
from nnunet_mcp.schemas.gpus import Gpu, TorchGpus
from tests.kit.gpus import Card, build_nvml, nvidia_smi_shows
from tests.kit.lab import stand_in_nvidia_smi, until

ONE = Card("GPU-aa11", used=400)
INFORMATION = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 127\nGPU UUID: \t {}\nBus Location: \t 0000:01:00.0\n"


pytestmark = pytest.mark.usefixtures("no_gpus")


@pytest.fixture
def machine() -> Machine:
    return Machine()


def driver_lists(folder: Path, *uuids: str) -> None:
    for number, uuid in enumerate(uuids):
        card = folder / "driver" / "gpus" / f"0000:{number:02d}:00.0"
        card.mkdir(parents=True)
        (card / "information").write_text(INFORMATION.format(uuid), encoding="utf-8")


def python_that_says(folder: Path, text: str) -> str:
    program = folder / "a python"
    program.write_text(f"#!/bin/sh\necho x >> '{folder}/asked'\ncat <<'E'\n{text}\nE\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler for the stand-in of NVIDIA's library")
def test_nvidias_library_tells_cards_instances_processes_and_what_is_wrong(machine: Machine, tmp_path: Path) -> None:
    build_nvml(tmp_path, str(shutil.which("cc")))

    found = machine.find(sys.executable)

    assert (found.source, found.hangs, found.problem) == ("NVML", False, "GPU 2: GPU is lost")
    plain, *parts = found.gpus
    assert plain.model == "NVIDIA H100, 80.0 GB (2 uncorrected memory errors, slowed down by heat)"
    assert plain.product == "NVIDIA H100, 80.0 GB", "what is wrong with it now is no part of a record"
    assert (plain.uuid, plain.free_gb, plain.capability, plain.driver) == ("GPU-plain", 60.0, (9, 0), "580.159.04")
    assert [(one.pid, one.name, one.memory_gb) for one in plain.processes] == [
        (4242, "/usr/bin/python3", 19.5),
        (7, "nvidia-cuda-mps-server", None),
    ]
    assert [(part.uuid, part.total_gb, part.card) for part in parts] == [
        ("MIG-part-a", 10.0, "GPU-divided"),
        ("MIG-part-b", 10.0, "GPU-divided"),
    ]


def test_one_lost_gpu_does_not_hide_the_others(machine: Machine, tmp_path: Path) -> None:
    cards = (Card("GPU-aa11"), Card("GPU-bb22"))
    nvidia_smi_shows(tmp_path, *cards, first="echo 'Unable to determine the device handle for GPU2'; trap 'exit 255' 0")

    found = machine.find(sys.executable)

    assert [gpu.uuid for gpu in found.gpus] == ["GPU-aa11", "GPU-bb22"]
    assert found.problem == "Unable to determine the device handle for GPU2"


def test_a_driver_that_does_not_know_a_column_is_asked_without_it(machine: Machine, tmp_path: Path) -> None:
    nvidia_smi_shows(
        tmp_path, ONE, first='case "$*" in *compute_cap*) echo Field compute_cap is not a valid field; exit 2;; esac'
    )

    assert [gpu.uuid for gpu in machine.find(sys.executable).gpus] == ["GPU-aa11"]


def test_nvidia_smi_lists_the_instances_of_a_divided_card(machine: Machine, tmp_path: Path) -> None:
    listing = (
        "GPU 0: NVIDIA H100 (UUID: GPU-aa11)\n"
        "  MIG 1g.10gb     Device  0: (UUID: MIG-11)\n"
        "  MIG 1g.10gb     Device  1: (UUID: MIG-22)"
    )
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", "NVIDIA H100", mig="Enabled"), listing=listing)

    found = machine.find(sys.executable).gpus

    assert [(gpu.uuid, gpu.card, gpu.name, gpu.total_gb) for gpu in found] == [
        ("MIG-11", "GPU-aa11", "NVIDIA H100 MIG 1g.10gb", None),
        ("MIG-22", "GPU-aa11", "NVIDIA H100 MIG 1g.10gb", None),
    ]


def test_a_divided_card_without_instances_is_none_and_the_one_beside_it_is_there(
    machine: Machine, tmp_path: Path
) -> None:
    divided, listing = Card("GPU-aa11", "NVIDIA H100", mig="Enabled"), "GPU 0: NVIDIA H100 (UUID: GPU-aa11)"
    nvidia_smi_shows(tmp_path, divided, Card("GPU-bb22"), listing=listing)
    assert [gpu.uuid for gpu in machine.find(sys.executable).gpus] == ["GPU-bb22"]

    nvidia_smi_shows(tmp_path, divided, listing=listing)

    assert "in MIG mode and have no instances" in visible(machine.find(sys.executable, max_age_s=0), None)[1]


def test_nvidia_smi_is_found_where_path_does_not_lead(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi_shows(tmp_path, ONE)
    monkeypatch.setattr("nnunet_mcp.runs.machine.nvidia_smi.FOLDERS", (str(tmp_path),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    assert machine.find(sys.executable).gpus


def test_without_either_the_drivers_own_files_tell_uuid_and_name(machine: Machine, tmp_path: Path) -> None:
    driver_lists(tmp_path, "GPU-aa11", "GPU-????????-????-????-????-????????????")

    found = machine.find(python_that_says(tmp_path, '{"cuda": "13.0", "devices": [{"name": "NVIDIA H200"}]}'))

    assert [(gpu.cuda_name, gpu.model) for gpu in found.gpus] == [("GPU-aa11", "NVIDIA H200")]
    assert (found.source, found.problem) == ("/proc", "nvidia-smi lists no GPU (it is not installed)")


def test_a_gpu_that_only_the_drivers_files_have_and_pytorch_cannot_use_is_none(
    machine: Machine, tmp_path: Path
) -> None:
    driver_lists(tmp_path, "GPU-aa11")
    stand_in_nvidia_smi(tmp_path, "echo Driver/library version mismatch; exit 18")

    found = machine.find(python_that_says(tmp_path, '{"cuda": "13.0"}'))

    assert not found.gpus
    assert found.problem == "nvidia-smi lists no GPU (Driver/library version mismatch); PyTorch can use none"


def test_where_nvidia_is_not_pytorch_is_asked_once(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = '{"rocm": "6.4", "devices": [{"name": "AMD MI300X", "total_gb": 192.0}]}'
    python = python_that_says(tmp_path, answer)
    assert not machine.find(python).gpus, "without a sign of a GPU nobody loads PyTorch"
    monkeypatch.setattr(gpus, "SIGNS", (str(tmp_path / "libnvidia*"),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    for _ in range(2):
        found = machine.find(python, max_age_s=0)

    assert [gpu.cuda_name for gpu in visible(found, None)[0]] == ["3"], "PyTorch counts what the variable shows"
    assert found.source == "torch" and (tmp_path / "asked").read_text() == "x\n"


def test_a_look_is_kept_for_a_moment_and_shared(machine: Machine, tmp_path: Path) -> None:
    nvidia_smi_shows(tmp_path, ONE, first=f"echo $1 >> {tmp_path}/calls")
    threads = [threading.Thread(target=machine.find, args=(sys.executable,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    asked = (tmp_path / "calls").read_text().splitlines()

    assert len(asked) == 2, "once for the GPUs, once for their processes"


def test_a_slow_answer_is_not_waited_for_but_still_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "ASK_S", 1.0)
    machine, go = Machine(), tmp_path / "go"
    waits = f"until [ -e {go} ]; do sleep 0.05; done"
    nvidia_smi_shows(tmp_path, ONE, first=f"echo x >> {tmp_path}/calls; {waits}")

    slow = machine.find(sys.executable)
    again = machine.find(sys.executable, max_age_s=0)
    assert slow.hangs and slow.problem == "nvidia-smi lists no GPU (nvidia-smi does not answer within 1 s)"
    assert again.hangs and "an earlier question (nvidia-smi, pid " in again.problem

    go.touch()

    assert until(lambda: bool(machine.find(sys.executable, max_age_s=0).gpus), timeout_s=20)
    assert len((tmp_path / "calls").read_text().splitlines()) == 2, "for the GPUs and for their processes"


def test_a_program_that_cannot_be_killed_holds_nobody_and_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "ASK_S", 0.5)
    monkeypatch.setattr(gpus, "GIVE_UP_S", 0.5)
    driver_lists(tmp_path, "GPU-aa11")
    stand_in_nvidia_smi(tmp_path, f"echo x >> {tmp_path}/calls; exec sleep 600")
    machine, begun, tried = Machine(), time.monotonic(), set[int]()

    with monkeypatch.context() as held_by_the_driver:
        held_by_the_driver.setattr("os.killpg", lambda group, _: tried.add(group))
        looks = [machine.find(sys.executable, max_age_s=0) for _ in range(4)]

    assert time.monotonic() - begun < 10
    assert [look.hangs for look in looks] == [True] * 4 and "still hangs" in looks[-1].problem
    assert [gpu.uuid for gpu in looks[-1].gpus] == ["GPU-aa11"], "the driver's files can be read even so"
    assert len(tried) == 1 and (tmp_path / "calls").read_text() == "x\n"

    os.killpg(tried.pop(), signal.SIGKILL)
    nvidia_smi_shows(tmp_path, ONE)
    assert until(lambda: not machine.find(sys.executable, max_age_s=0).hangs, timeout_s=20)


def test_a_late_answer_to_another_question_is_not_taken_for_this_one() -> None:
    question = Question("a program", wait_s=0.2, end_s=60)
    with pytest.raises(StillHangs):
        question.ask(["sh", "-c", "sleep 1; echo old"])

    def asked_again() -> bool:
        with suppress(StillHangs):
            return question.ask(["sh", "-c", "echo new"]).out == "new\n"
        return False

    assert until(asked_again, timeout_s=10)


def test_an_answer_that_waited_too_long_to_be_fetched_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question("a program", wait_s=0.2, end_s=60)
    command = ["sh", "-c", "sleep 1; cat /proc/uptime"]
    with pytest.raises(StillHangs):
        question.ask(command)
    first = question._process
    assert first is not None
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    asked = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: asked + 61)

    with pytest.raises(StillHangs):
        question.ask(command)

    second = question._process
    assert second is not None and second is not first
    second.communicate()


def test_what_was_killed_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "ASK_S", 0.5)
    monkeypatch.setattr(gpus, "GIVE_UP_S", 0.5)
    stand_in_nvidia_smi(tmp_path, "sleep 600")
    machine = Machine()
    assert machine.find(sys.executable).hangs

    nvidia_smi_shows(tmp_path, ONE)

    assert until(lambda: bool(machine.find(sys.executable, max_age_s=0).gpus), timeout_s=20)


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (("sm_75", "sm_90"), (9, 0), True),
        (("sm_75", "sm_80"), (8, 6), True),
        (("sm_75", "sm_90"), (7, 0), False),
        (("sm_86",), (8, 0), False),
        (("sm_90a",), (9, 0), True),
        (("sm_75", "sm_90"), (12, 0), False),
        (("sm_75", "compute_90"), (12, 0), True),
        ((), (6, 1), True),
    ],
)
def test_a_card_that_pytorch_has_no_kernels_for_is_known(
    archs: tuple[str, ...], capability: tuple[int, int], runs: bool
) -> None:
    assert TorchGpus(archs=archs).has_kernels_for(capability) is runs


def test_beside_a_newer_card_one_that_is_too_old_for_pytorch_is_left_out(machine: Machine, tmp_path: Path) -> None:
    cards = (Card("GPU-old", "NVIDIA GeForce GTX 1080 Ti", capability="6.1"), Card("GPU-new"))
    nvidia_smi_shows(tmp_path, *cards)
    python = python_that_says(tmp_path, '{"cuda": "13.0", "archs": ["sm_75", "sm_89"]}')

    found = machine.find(python)

    assert found.gpus[0].model == "NVIDIA GeForce GTX 1080 Ti, 25.8 GB (too old for this PyTorch)"
    assert [gpu.uuid for gpu in visible(found, None)[0]] == ["GPU-new"]


def test_a_gpu_without_figures_has_a_model_all_the_same() -> None:
    assert (Gpu(index="0").model, Gpu(index="0").title, Gpu(index="0").cuda_name) == ("GPU", "0", "0")

"""On which device a training runs, and that nobody finds out after days that it was the wrong one."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Unavailable
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.local.device import choose_device
from nnunet_mcp.runs.local.places import find_places
from nnunet_mcp.runs.machine import gpus
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.helping import helped
from tests.kit.gpus import Card, nvidia_smi_hangs, nvidia_smi_shows, python_with_cuda
from tests.kit.lab import ToolRefused, stand_in_nvidia_smi
from tests.kit.terminal import terminal
from tests.kit.tiny import ask, make_dataset

REQUEST: dict[str, Any] = {"dataset_id": 95, "configuration": "2d", "fold": "0"}
LOST = "printf '0, GPU-aa\nUnable to determine the device handle for GPU1: Unknown Error\n'; exit 255"


@pytest.fixture(autouse=True)
def a_machine_without_gpus(settings: Settings, no_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", python_with_cuda(tmp_path))
    make_dataset(settings.folder("raw"), "Dataset095_Here")


def python_without_gpus(folder: Path) -> str:
    program = folder / "python"
    program.write_text("#!/bin/sh\necho {}\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def test_without_any_sign_of_a_gpu_the_cpu_trains_and_it_is_said_why() -> None:
    assert choose_device(None, Settings()) == ("cpu", "no GPU: nvidia-smi lists no GPU (it is not installed)")


@pytest.mark.heavy
def test_the_answer_and_the_record_say_where_it_trains_and_why(settings: Settings, tmp_path: Path) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", "NVIDIA H200", total=137_000))

    ahead = ask(Settings(), "nnunet_preflight", **REQUEST)
    asked = ask(Settings(), "nnunet_preflight", **REQUEST, device="cpu")

    assert (ahead["device"], ahead["device_reason"]) == ("cuda", "there is NVIDIA H200, 143.7 GB")
    assert (asked["device"], asked["device_reason"]) == ("cpu", "asked for")
    told = terminal("preflight", "95", "--configuration", "2d", "--fold", "0").stdout
    assert re.search("device +cuda: there is NVIDIA H200, 143.7 GB", told), told


@pytest.mark.parametrize(
    ("cuda", "archs", "said"),
    [
        ("13.0", ("sm_75", "sm_90"), "has no kernels for its capability 7.0 (it has sm_75, sm_90)"),
        (None, (), "is built for the CPU only"),
    ],
)
def test_a_pytorch_that_cannot_use_the_gpu_is_a_problem_before_anything_starts(
    cuda: str | None, archs: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", "Tesla V100", capability="7.0"))
    settings = Settings(worker_python=python_with_cuda(tmp_path, *archs, cuda=cuda))

    for device in (None, "cuda"):
        problems = ask(settings, "nnunet_preflight", **REQUEST, device=device)["problems"]
        assert [problem for problem in problems if problem.startswith("There is Tesla V100") and said in problem]
        with pytest.raises(ToolRefused, match="There is Tesla V100"):
            ask(settings, "nnunet_training", **REQUEST, device=device)
    assert choose_device("cpu", settings) == ("cpu", "asked for")


def test_an_nvidia_smi_without_a_gpu_is_called_a_sign_and_no_more(tmp_path: Path) -> None:
    stand_in_nvidia_smi(tmp_path, "echo No devices were found")

    with pytest.raises(Unavailable, match=r"There are signs of a GPU .*nvidia-smi.*, but none can be used: .*No devi"):
        choose_device(None, Settings(worker_python=python_without_gpus(tmp_path)))


def test_one_lost_gpu_of_several_does_not_send_a_training_to_the_cpu(tmp_path: Path) -> None:
    stand_in_nvidia_smi(tmp_path, LOST)

    assert choose_device(None, Settings())[0] == "cuda"


def check_refusal(settings: Settings, device: Any, said: str) -> None:
    with pytest.raises(Unavailable) as refused, helped():
        choose_device(device, settings)

    for words in (said, "device='cpu'", "nnunet_system", "NNUNET_MCP_GPUS=1", "ROCm"):
        assert words in str(refused.value)
    assert choose_device("cpu", settings) == ("cpu", "asked for")


@pytest.mark.parametrize("said", ["Failed to initialize NVML: Driver/library version mismatch", "it ends with code 9"])
@pytest.mark.parametrize("device", [None, "cuda"])
def test_a_gpu_that_cannot_be_used_is_a_refusal_with_every_way_on(said: str, device: Any, tmp_path: Path) -> None:
    stand_in_nvidia_smi(tmp_path, f"{'exit 9' if 'code' in said else f'echo {said}; exit 18'}")

    check_refusal(Settings(worker_python=python_without_gpus(tmp_path)), device, said)


@pytest.mark.parametrize("device", [None, "cuda"])
def test_a_driver_that_hangs_and_has_told_nothing_is_a_refusal_too(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nvidia_smi_hangs(tmp_path, monkeypatch) as machine:
        monkeypatch.setattr("nnunet_mcp.runs.local.device.MACHINE", machine)

        check_refusal(Settings(), device, "does not answer within 1 s")


def test_a_sign_of_a_gpu_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kfd").touch()
    monkeypatch.setattr(gpus, "SIGNS", (str(tmp_path / "kfd"),))
    settings = Settings(worker_python=python_without_gpus(tmp_path))

    with pytest.raises(Unavailable, match="kfd"):
        choose_device(None, settings)

    assert choose_device(None, settings.model_copy(update={"gpus": 1})) == ("cuda", "there is GPU")


@pytest.mark.parametrize(("name", "value"), [("CUDA_VISIBLE_DEVICES", "-1"), ("NNUNET_MCP_GPUS", "0")])
def test_who_hides_the_gpus_has_said_that_the_cpu_will_do(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-aa11"))
    monkeypatch.setenv(name, value)

    device, why = choose_device(None, Settings())

    assert device == "cpu" and name in why


def test_a_driver_that_hangs_is_waited_for_and_the_cpu_is_not_taken_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tmp_path / "driver" / "gpus" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: NVIDIA H200\nGPU UUID: GPU-aa11\n", encoding="utf-8")

    with nvidia_smi_hangs(tmp_path, monkeypatch) as machine:
        monkeypatch.setattr("nnunet_mcp.runs.local.device.MACHINE", machine)
        monkeypatch.setattr("nnunet_mcp.runs.local.places.MACHINE", machine)

        assert choose_device(None, Settings()) == ("cuda", "there is NVIDIA H200")
        places, why = find_places("gpu", StateDir(tmp_path), Settings())
        assert not places and "nvidia-smi" in why, "but nothing is started on it"


def test_instances_of_a_divided_gpu_do_not_train_together(tmp_path: Path) -> None:
    listing = "GPU 0: H100 (UUID: GPU-aa11)\n" + "\n".join(f"  MIG 1g.10gb Device {n}: (UUID: MIG-{n})" for n in (1, 2))
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", mig="Enabled"), listing=listing)

    with pytest.raises(Unavailable, match=r"0 are here, and instances of a divided GPU .MIG. cannot.*num_gpus=1"):
        choose_device(None, Settings(), num_gpus=2)

    assert choose_device(None, Settings())[0] == "cuda"


@pytest.mark.parametrize(
    ("written", "cuda"), [("cuda: Optional[str] = '13.0'\nhip = None", "13.0"), ("cuda = None\nhip = '6.4'", None)]
)
def test_the_versions_of_a_run_name_the_cuda_that_pytorch_was_built_for(
    written: str, cuda: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text(written, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    told = subprocess.run([sys.executable, "-m", "nnunet_mcp.nnunet.installed"], capture_output=True, check=True).stdout

    assert json.loads(told)["versions"].get("cuda") == cuda

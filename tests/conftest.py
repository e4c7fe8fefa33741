"""Fixtures for all tests. Helpers that are no fixtures: kit/lab.py (real servers), kit/tiny.py (small data)."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from nnunet_mcp.runs.machine import gpus
from nnunet_mcp.settings import Settings

DATA = Path(__file__).parents[2] / "shared" / "data"
OURS = ("NNUNET_MCP_", "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer")

# A busy machine takes its time; that is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def nothing_from_the_users_environment() -> Iterator[None]:
    """The folders and settings of whoever runs the tests stay out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def no_report_on_the_gpus_is_kept() -> None:
    """What a test finds is its own."""
    gpus.MACHINE.forget()


@pytest.fixture(autouse=True)
def nothing_is_planned_ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net's planners take seconds for each dataset: only tests that have `plans_ahead` wait for them."""
    if "plans_ahead" not in request.fixturenames:
        for patience in ("LOOK_S", "WAIT_S"):
            monkeypatch.setattr(f"nnunet_mcp.tools.training.plans_ahead.{patience}", 0.0)


@pytest.fixture
def plans_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net's planners are asked before anything is preprocessed, and waited for however busy the machine is."""
    monkeypatch.setattr("nnunet_mcp.tools.training.plans_ahead.WAIT_S", 120.0)


@pytest.fixture
def no_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of this machine's own; what a test puts into its folder (nvidia-smi, a library, `driver`) is found."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NNUNET_MCP_GPUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr(gpus, "SIGNS", ())
    monkeypatch.setattr("nnunet_mcp.runs.machine.nvidia_smi.FOLDERS", ())
    monkeypatch.setenv("NNUNET_MCP_HOST_LOCKS", str(tmp_path))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty workspace, in the environment too, so that child processes have the same."""
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("NNUNET_MCP_GPUS", "0")
    monkeypatch.setenv("NNUNET_MCP_HOST_LOCKS", str(tmp_path))
    found = Settings()
    found.create_folders()
    return found


@pytest.fixture
def downloads(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that tools may read."""
    folder = tmp_path / "my downloads"
    folder.mkdir()
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(folder))
    return folder


@pytest.fixture(scope="session")
def hippocampus() -> Path:
    """Hippocampus MRI of the Medical Segmentation Decathlon, as downloaded."""
    return _data("hippocampus/Task04_Hippocampus")


@pytest.fixture(scope="session")
def nuclei() -> Path:
    """Fluorescence microscopy in PNG files, an nnU-Net v2 dataset."""
    return _data("Dataset502_NucleiFluo")


def _data(name: str) -> Path:
    if not (DATA / name / "dataset.json").is_file():
        pytest.skip(f"{name} is not there; AGENTS.md says where these data come from")
    return DATA / name

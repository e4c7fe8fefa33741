"""In a container as many cores and as much memory count as its group may use; groups made of files."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nnunet_mcp.runs.machine import capacity
from nnunet_mcp.runs.machine.capacity import Memory, usable_cores, usable_memory
from nnunet_mcp.runs.processes import LANES_VARIABLE
from nnunet_mcp.worker.resources import fit_to_machine

GIB = 1024**3


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen cores, and no groups yet."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(capacity, "GROUPS", tmp_path)
    monkeypatch.setattr(capacity, "OWN_GROUPS", tmp_path / "own")


def group(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    """What the kernel says of the group of this process, and the files of all groups."""
    (tmp_path / "own").write_text(own, encoding="utf-8")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/", {"cpu.max": "max 100000\n"}, 16),
        ("0::/", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "250000 100000\n"}, 2),
        ("0::/kubepods/pod/not-seen-inside", {"cpu.max": "300000 100000\n"}, 3),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "600000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 6),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 16),
        ("", {}, 16),
    ],
)
def test_the_cores_are_those_of_the_group(tmp_path: Path, own: str, files: dict[str, str], cores: int) -> None:
    group(tmp_path, own, files)

    assert usable_cores() == cores


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/", {"memory.max": f"{GIB}", "memory.current": f"{GIB // 2}", "memory.stat": f"inactive_file {GIB // 4}"}),
        (
            "9:memory:/x",
            {
                "memory/x/memory.limit_in_bytes": f"{GIB}",
                "memory/x/memory.usage_in_bytes": f"{GIB // 2}",
                "memory/x/memory.stat": f"cache 1\ntotal_inactive_file {GIB // 4}",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "1",
            },
        ),
    ],
)
def test_the_memory_is_that_of_the_group_and_caches_can_be_had(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    group(tmp_path, own, files)

    memory = usable_memory()
    assert (memory.total, memory.available) == (GIB, GIB * 3 // 4)
    assert fit_to_machine("preprocess", "cpu", {})["nnUNet_def_n_proc"] == "1"


def test_without_a_limit_the_memory_is_the_machines(tmp_path: Path) -> None:
    group(tmp_path, "0::/", {"memory.max": "max", "memory.current": "1"})

    assert usable_memory().total == psutil.virtual_memory().total


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many GiB of memory are available."""
    return lambda gib: monkeypatch.setattr(
        "nnunet_mcp.worker.resources.usable_memory", lambda: Memory(total=gib * GIB, available=gib * GIB)
    )


@pytest.mark.parametrize(("lanes", "processes"), [("1", "15"), ("4", "3"), ("16", "1"), ("32", "1")])
def test_trainings_that_can_run_side_by_side_share_the_cores(
    memory: Callable[[int], None], lanes: str, processes: str
) -> None:
    memory(128)

    assert fit_to_machine("train", "cuda", {LANES_VARIABLE: lanes})["nnUNet_n_proc_DA"] == processes


@pytest.mark.parametrize(("cores", "gib", "processes"), [(64, 256, "24"), (64, 8, "8"), (8, 256, "7")])
def test_a_gpu_has_as_many_loaders_as_the_machine_allows(
    memory: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, cores: int, gib: int, processes: str
) -> None:
    memory(gib)
    monkeypatch.setattr("nnunet_mcp.worker.resources.usable_cores", lambda: cores)

    assert fit_to_machine("train", "cuda", {})["nnUNet_n_proc_DA"] == processes


def test_the_processes_of_several_gpus_share_the_pools_that_fit_the_machine(memory: Callable[[int], None]) -> None:
    memory(128)

    assert fit_to_machine("train", "cuda", {}, ranks=4)["nnUNet_def_n_proc"] == "2"


@pytest.mark.parametrize(
    ("gib", "own", "processes"),
    [
        (128, {}, {"nnUNet_npp": "3", "nnUNet_nps": "3"}),
        (8, {}, {"nnUNet_npp": "2", "nnUNet_nps": "2"}),
        (128, {"nnUNet_def_n_proc": "5"}, {"nnUNet_npp": "5", "nnUNet_nps": "5"}),
        (128, {"nnUNet_npp": "1"}, {"nnUNet_nps": "3"}),
    ],
)
def test_a_prediction_has_nnunets_own_few_processes(
    memory: Callable[[int], None], gib: int, own: dict[str, str], processes: dict[str, str]
) -> None:
    memory(gib)
    chosen = fit_to_machine("predict", "cuda", own)

    assert {name: value for name, value in chosen.items() if name != "nnUNet_def_n_proc"} == processes

"""In a container as many cores and as much memory count as its group may use; groups made of files."""

from pathlib import Path

import psutil
import pytest

from nnunet_mcp.runs import capacity
from nnunet_mcp.runs.capacity import usable_cores, usable_memory
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


@pytest.mark.parametrize(("lanes", "processes"), [("1", "12"), ("4", "3"), ("16", "1"), ("32", "1")])
def test_trainings_that_can_run_side_by_side_share_the_cores(lanes: str, processes: str) -> None:
    assert fit_to_machine("train", "cuda", {LANES_VARIABLE: lanes})["nnUNet_n_proc_DA"] == processes

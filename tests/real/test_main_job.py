"""The main job: real images in, a real model out, whatever happens to the server meanwhile."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.kit.lab import Answer, Lab, call, kill_group, make_tiny_plans, until

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, hippocampus: Path) -> Lab:
    folder = tmp_path_factory.mktemp("main_job")
    lab = Lab(folder / "work", {"NNUNET_MCP_ALLOWED_DIRS": str(hippocampus.parent)})
    lab.call("nnunet_prepare_dataset", source=str(hippocampus), dataset_id=4, name="Hippocampus")
    return lab


def test_a_2d_training_gives_the_numbers_of_nnunets_summary(lab: Lab) -> None:
    request: dict[str, Any] = {"configuration": "2d", "fold": "0", "device": "cpu", "trainer": "ShortTrainer"}

    result = lab.train(dataset_id=4, timeout_s=400, **request)

    assert result["status"] == "success", result
    model = Path(result["model_path"])
    measured = json.loads((model / "validation" / "summary.json").read_text(encoding="utf-8"))["foreground_mean"]
    assert result["metrics"]["dice"] == pytest.approx(measured["Dice"], abs=1e-6)
    assert result["metrics"]["iou"] == pytest.approx(measured["IoU"], abs=1e-6)
    assert (model / "checkpoint_final.pth").is_file()
    assert (model.parent.parent / "nnUNetv2_2d" / "fold_0" / "checkpoint_final.pth").is_file()
    assert {line["label"] for line in result["per_class"]} == {"Anterior", "Posterior"}


def test_a_3d_training_survives_the_death_of_the_servers_process_group(lab: Lab) -> None:
    run_id = anyio.run(_start_and_kill_the_server, lab)

    before = lab.wait_for(run_id, lambda progress: (progress["epoch"] or 0) >= 1, timeout_s=400)
    lines = (lab.run_dir(run_id) / "stages" / "train_fold_0" / "epochs.jsonl").read_text().splitlines()
    result = lab.finish(run_id, timeout_s=400)

    assert before["status"] == "running"
    assert before["epoch"] <= len(lines)
    assert result["status"] == "success", result
    measured = json.loads((Path(result["model_path"]) / "validation" / "summary.json").read_text())["foreground_mean"]
    assert result["metrics"]["dice"] == pytest.approx(measured["Dice"], abs=1e-6)
    assert until(lambda: not lab.processes())


async def _start_and_kill_the_server(lab: Lab) -> str:
    """Start a run on a raw server process of our own, and kill its whole group while the run works."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nnunet_mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=lab.environment,
        start_new_session=True,
    )
    try:
        request = {"dataset_id": 4, "fold": 0, "device": "cpu", "trainer": "ShortTrainer"}
        started = _raw_call(process, "nnunet_training", request)
        run_id = str(started["run_id"])
        assert await anyio.to_thread.run_sync(lambda: until(lambda: bool(lab.processes()), timeout_s=60))
    finally:
        kill_group(process.pid)
        process.communicate()
    return run_id


def _raw_call(process: "subprocess.Popen[bytes]", tool: str, arguments: dict[str, Any]) -> Answer:
    """Speak JSON-RPC by hand, so that the test owns the process."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    _send(process, {"id": 1, "method": "initialize", "params": hello})
    _receive(process, 1)
    _send(process, {"method": "notifications/initialized"})
    _send(process, {"id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
    return dict(_receive(process, 2)["structuredContent"])


def _send(process: "subprocess.Popen[bytes]", message: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    process.stdin.flush()


def _receive(process: "subprocess.Popen[bytes]", number: int) -> Answer:
    assert process.stdout is not None
    while line := process.stdout.readline():
        message = json.loads(line)
        if message.get("id") == number:
            return dict(message["result"])
    raise AssertionError("the server ended")


def test_an_identical_request_a_moment_later_gets_the_same_run_and_a_different_one_is_refused(lab: Lab) -> None:
    make_tiny_plans(lab.folder / "preprocessed" / "Dataset004_Hippocampus")
    request: dict[str, Any] = {"dataset_id": 4, "fold": "1", "device": "cpu", "plans_identifier": "tinyPlans"}

    async def three_times() -> tuple[Answer, Answer, Any]:
        async with lab.client() as client:
            first = await call(client, "nnunet_training", **request, trainer="LongTrainer")
            second = await call(client, "nnunet_training", **request, trainer="LongTrainer")
            other = await client.call_tool("nnunet_training", {**request, "trainer": "LongTrainer", "npz": True})
            await call(client, "nnunet_cancel", run_id=first["run_id"], force=True)
            return first, second, other

    first, second, other = anyio.run(three_times)

    assert first["run_id"] == second["run_id"]
    assert other.is_error and first["run_id"] in other.content[0].text
    assert lab.finish(first["run_id"])["status"] == "cancelled"
    assert until(lambda: not lab.processes())

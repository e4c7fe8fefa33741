"""The main job: real images in, a real model out, whatever happens to the server meanwhile."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.kit.lab import Answer, Lab, call, kill_group, make_tiny_plans, until
from tests.kit.wire import Wire

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
    run_id = _start_and_kill_the_server(lab)

    before = lab.wait_for(run_id, lambda progress: (progress["epoch"] or 0) >= 1, timeout_s=400)
    lines = (lab.run_dir(run_id) / "stages" / "train_fold_0" / "epochs.jsonl").read_text().splitlines()
    result = lab.finish(run_id, timeout_s=400)

    assert before["status"] == "running"
    assert before["epoch"] <= len(lines)
    assert result["status"] == "success", result
    measured = json.loads((Path(result["model_path"]) / "validation" / "summary.json").read_text())["foreground_mean"]
    assert result["metrics"]["dice"] == pytest.approx(measured["Dice"], abs=1e-6)
    assert until(lambda: not lab.processes())


def _start_and_kill_the_server(lab: Lab) -> str:
    """Start a run on a raw server process of our own, and kill its whole group while the run works."""
    wire = Wire(lab.environment, start_new_session=True)
    try:
        wire.begin()
        started = wire.call("nnunet_training", dataset_id=4, fold=0, device="cpu", trainer="ShortTrainer")
        assert until(lambda: bool(lab.processes()), timeout_s=60)
    finally:
        kill_group(wire.process.pid)
        wire.end()
    return str(started["structuredContent"]["run_id"])


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

"""Slots for GPUs, without GPUs: the number of devices is a setting, the stages are played."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.runs.layout import StateDir
from tests.chaos import stand_in_worker
from tests.kit.lab import Lab
from tests.kit.phantom import write_phantom

REQUEST: dict[str, Any] = {"configuration": "3d_fullres", "fold": "all", "device": "cuda"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    extra = {"NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__, "NNUNET_MCP_GPUS": "3"}
    lab = Lab(tmp_path / "work", extra)
    for number in (71, 72):
        write_phantom(lab.folder / "raw" / f"Dataset{number:03d}_Played", cases=5, shape=(4, 4, 4))
    return lab


def spans(lab: Lab, run_id: str) -> list[tuple[float, float, str]]:
    """When each training stage ran, and on which GPU."""
    run = StateDir(lab.settings.state_dir).run(run_id)
    found = []
    for number in range(5):
        stage = run.stage(f"train_fold_{number}")
        state = stage.state()
        assert state is not None and state.started_at is not None and state.ended_at is not None
        found.append((state.started_at, state.ended_at, (stage.path / "device.txt").read_text(encoding="utf-8")))
    return found


def most_at_once(times: list[tuple[float, float, str]]) -> int:
    return max(sum(begin <= moment < end for begin, end, _ in times) for moment, _, _ in times)


@pytest.mark.heavy
def test_all_folds_keep_every_gpu_busy_and_no_gpu_twice(lab: Lab) -> None:
    result = lab.train(dataset_id=71, **REQUEST)

    assert result["status"] == "success", result
    times = spans(lab, result["run_id"])
    assert most_at_once(times) == 3
    for gpu in "012":
        mine = sorted((begin, end) for begin, end, device in times if device == gpu)
        assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(mine))


@pytest.mark.heavy
def test_two_runs_share_the_gpus_and_the_one_that_waits_says_for_whom(lab: Lab) -> None:
    leave = lab.folder / "leave to end"
    held = Lab(lab.folder, {**lab.extra, "STAND_IN_LEAVE": str(leave)})
    first = held.call("nnunet_training", dataset_id=71, **REQUEST | {"fold": "0"}, num_gpus=3)["run_id"]
    lab.wait_for(first, lambda progress: progress["stage"] != "preprocess")
    second = lab.call("nnunet_training", dataset_id=72, **REQUEST)["run_id"]

    waiting = lab.wait_for(second, lambda p: p["status"] == "queued" and first in p["health"]["detail"], timeout_s=30)
    slots = lab.call("nnunet_system")["slots"]
    leave.touch()
    results = [lab.finish(run_id) for run_id in (first, second)]

    assert first in waiting["health"]["detail"]
    assert first in json.dumps(slots)
    assert [result["status"] for result in results] == ["success", "success"]


def test_a_request_for_a_gpu_where_there_is_none_is_refused_at_once(lab: Lab) -> None:
    none = Lab(lab.folder, {**lab.extra, "NNUNET_MCP_GPUS": "0"})
    begun = time.monotonic()
    with pytest.raises(Exception, match="device='cpu'"):
        none.call("nnunet_training", dataset_id=71, **REQUEST)
    assert time.monotonic() - begun < 20

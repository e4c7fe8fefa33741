"""Answers stay small: an agent pays for every character."""

import json
import time
from typing import Any

import anyio
import pytest
from mcp import Client

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.liveness import host_name
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.schemas.records import Epoch, Failure, Progress, RunRecord, StageSpec, StageState, Status
from nnunet_mcp.server.app import INSTRUCTIONS, create_server
from nnunet_mcp.server.portable import lean
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.watching.progress import answer
from nnunet_mcp.tools.watching.snapshot import snapshot
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, training_as_asked

COLOURED = '\x1b[31m"Error" in C:\\\\data\x1b[0m\n' * 40
LONG = "a very long text with a path /data/nnUNet_raw/Dataset004_Hippocampus/labelsTr/case_0001.nii.gz " * 20


def run_at(settings: Settings, status: Status, text: str = LONG) -> RunDir:
    """A run whose training stands at epoch 998 of 1000, with the longest texts there can be."""
    spec = StageSpec(name="train_fold_0", kind="train", configuration="3d_cascade_fullres", fold="0")
    record = RunRecord(
        run_id="d004-3d_cascade_fullres-full-k7m3",
        created_at=time.time() - 1e6,
        job=training_as_asked({"request": {"dataset_id": 4, "configuration": "3d_cascade_fullres"}}),
        dataset_name="Dataset004_Hippocampus",
        device="cpu",
        folders=settings.folders,
        stages=(spec,),
        host=host_name(),
    )
    run = StateDir(settings.state_dir).run(record.run_id)
    stage = run.stage(spec.name)
    stage.path.mkdir(parents=True)
    failure = Failure(cause=text, evidence=text, remedy=text) if status == "error" else None
    write_model(run.run_file, record)
    write_model(stage.state_file, StageState(status=status, failure=failure, waits_for=text))
    write_model(stage.progress_file, Progress(phase="estimating pseudo Dice", heartbeat=time.time(), epochs=1000))
    number = -0.123456789012345
    append_line(
        stage.epochs_file,
        Epoch(
            epoch=998,
            train_loss=number,
            val_loss=number,
            learning_rate=1.23456789e-05,
            pseudo_dice=number,
            ema_pseudo_dice=number,
            seconds=12345.6789,
        ),
    )
    return run


def listed(settings: Settings, *, read_only: bool = False) -> list[dict[str, Any]]:
    """tools/list as a client gets it."""

    async def ask() -> list[dict[str, Any]]:
        async with Client(create_server(settings, read_only=read_only)) as client:
            tools = (await client.list_tools()).tools
            return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]

    return anyio.run(ask)


def test_the_tool_list_is_short(settings: Settings) -> None:
    every = listed(settings)
    seen = [tool for tool in every if tool.get("_meta", {}).get("ui", {}).get("visibility") != ["app"]]
    as_models_see_it = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in seen]

    assert len(json.dumps(every, separators=(",", ":"))) <= 24_000
    assert len(INSTRUCTIONS) + len(json.dumps(as_models_see_it)) <= 14_000


def test_a_read_only_server_has_no_tool_that_changes_something(settings: Settings) -> None:
    every, safe = listed(settings), listed(settings, read_only=True)

    assert 0 < len(safe) < len(every)
    assert all(tool["annotations"]["readOnlyHint"] for tool in safe)
    assert all(not tool["annotations"]["readOnlyHint"] for tool in every if tool not in safe)


@pytest.mark.parametrize("words", [LONG, COLOURED])
@pytest.mark.parametrize("status", ["queued", "running", "success", "error", "cancelled", "interrupted"])
def test_a_progress_answer_has_at_most_1200_characters(settings: Settings, status: Status, words: str) -> None:
    run = run_at(settings, status, words)

    said = for_agents(answer(snapshot(settings, run.run_id)))
    text = json.dumps(lean(said, said.model_dump(mode="json")), ensure_ascii=False, separators=(",", ":"))

    assert len(text) <= 1200, text
    assert "\\u001b" not in text
    assert json.loads(text)["epoch"] == 999


def test_a_disk_that_refuses_is_told_as_the_tool_would(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    run = run_at(settings, "running")
    monkeypatch.setattr("nnunet_mcp.tools.watching.runs.request_cancel", refuse)

    with pytest.raises(ToolRefused, match=r"No space left on device\.$"):
        ask(settings, "nnunet_cancel", run_id=run.run_id)

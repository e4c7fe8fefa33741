"""A training as a task of the Tasks extension (SEP-2663), on real servers over stdio; the stages are played."""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import anyio
import mcp.types as types
import pytest
from mcp import Client
from mcp.client import ClaimContext, ClientExtension, NotificationBinding, ResultClaim
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.records import EngineRecord, Epoch, Progress, StageState
from nnunet_mcp.server.protocol.run_tasks import MOST_POLL_S, RunTasks, describe
from nnunet_mcp.server.protocol.tasks import EXTENSION, TaskParams
from nnunet_mcp.settings import Settings
from tests.chaos import stand_in_worker
from tests.kit.lab import Lab, call
from tests.kit.phantom import write_phantom
from tests.kit.tiny import ask, record_of

REQUEST: dict[str, Any] = {"dataset_id": 71, "configuration": "3d_fullres", "fold": "0", "device": "cpu"}


class Task(types.Result):
    """A task as the client sees it."""

    result_type: Literal["task", "complete"] = "task"
    task_id: str = ""
    status: str = ""
    status_message: str | None = None
    poll_interval_ms: int | None = None
    result: dict[str, Any] | None = None


class Created(Task):
    """The handle that a call was answered with."""

    result_type: Literal["task"] = "task"


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    """tasks/get."""

    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams
    name_param = "taskId"


class CancelTask(types.Request[TaskParams, Literal["tasks/cancel"]]):
    """tasks/cancel."""

    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: TaskParams
    name_param = "taskId"


class Listen(types.Request[dict[str, Any], Literal["subscriptions/listen"]]):
    """subscriptions/listen."""

    method: Literal["subscriptions/listen"] = "subscriptions/listen"
    params: dict[str, Any]


class Pushed(types.NotificationParams):
    """notifications/tasks."""

    task_id: str
    status: str


class TasksClient(ClientExtension):
    """Follows a task to its end, so that `call_tool` returns the tool's result."""

    identifier = EXTENSION

    def __init__(self, on_push: Callable[[Any], Awaitable[None]] | None = None) -> None:
        self.on_push = on_push
        self.seen: list[Task] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Created, resolve=self._resolve)]

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        if self.on_push is None:
            return ()
        return [NotificationBinding(method="notifications/tasks", params_type=Pushed, handler=self.on_push)]

    async def _resolve(self, created: Created, ctx: ClaimContext) -> types.CallToolResult:
        return await self.follow(ctx.session, created.task_id)

    async def follow(self, session: Any, task_id: str) -> types.CallToolResult:
        while True:
            task = await session.send_request(GetTask(params=TaskParams(task_id=task_id)), Task)
            self.seen.append(task)
            if task.status == "completed":
                return types.CallToolResult.model_validate(task.result)
            if task.status == "cancelled":
                return types.CallToolResult(content=[], is_error=True)
            await anyio.sleep(0.2)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    extra = {"NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__, "STAND_IN_PACE_S": "0.3"}
    lab = Lab(tmp_path / "work", extra)
    write_phantom(lab.folder / "raw" / "Dataset071_Played", cases=5, shape=(4, 4, 4))
    return lab


def client_of(lab: Lab, extension: TasksClient | None = None) -> Client:
    """A client of the modern era, with or without the extension."""
    return Client(stdio_client(lab.command), extensions=[extension] if extension else [])


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        with anyio.fail_after(60):
            return await test()

    return anyio.run(bounded)


def test_a_call_becomes_a_task_whose_result_is_the_runs_result(lab: Lab) -> None:
    extension = TasksClient()

    async def once() -> types.CallToolResult:
        async with client_of(lab, extension) as client:
            return await client.call_tool("nnunet_training", REQUEST)

    result = run(once)

    content = result.structured_content
    assert not result.is_error and content["status"] == "success"
    assert content["metrics"] == {"dice": 0.5, "iou": 0.4, "validation_loss": 0.1}
    assert {task.status for task in extension.seen} == {"working", "completed"}
    assert any("train_fold_0, epoch" in (task.status_message or "") for task in extension.seen)


@pytest.mark.heavy
def test_a_task_outlives_its_server_and_is_the_run(lab: Lab) -> None:
    extension = TasksClient()

    async def twice() -> tuple[str, types.CallToolResult, str]:
        async with client_of(lab, extension) as client:
            created: Any = await client.session.call_tool("nnunet_training", REQUEST, allow_claimed=True)
        async with client_of(lab, extension) as client:
            result = await extension.follow(client.session, created.task_id)
            progress = await call(client, "nnunet_progress", run_id=created.task_id)
            return created.task_id, result, str(progress["status"])

    task_id, result, status = run(twice)

    assert result.structured_content["run_id"] == task_id
    assert status == "success"


def test_a_cancelled_task_ends_its_run(lab: Lab) -> None:
    extension = TasksClient()

    async def cancel() -> Any:
        async with client_of(lab, extension) as client:
            created: Any = await client.session.call_tool("nnunet_training", REQUEST, allow_claimed=True)
            await client.session.send_request(CancelTask(params=TaskParams(task_id=created.task_id)), types.Result)
            await extension.follow(client.session, created.task_id)
            return (await call(client, "nnunet_progress", run_id=created.task_id))["status"]

    assert run(cancel) == "cancelled"
    assert extension.seen[-1].status == "cancelled"


def test_a_listening_client_is_told_of_every_change(lab: Lab) -> None:
    pushed: list[str] = []

    async def note(params: Pushed) -> None:
        pushed.append(params.status)

    async def listen() -> None:
        async with client_of(lab, TasksClient(on_push=note)) as client:
            created: Any = await client.session.call_tool("nnunet_training", REQUEST, allow_claimed=True)
            request = Listen(params={"notifications": {"taskIds": [created.task_id, "no-such-run"]}})
            await client.session.send_request(request, types.Result)

    run(listen)

    assert pushed[0] == "working" and pushed[-1] == "completed"


def test_without_the_extension_the_plain_tool_answers_and_tasks_are_refused(lab: Lab) -> None:
    async def plain() -> tuple[Any, int]:
        async with client_of(lab) as client:
            started = await call(client, "nnunet_training", **REQUEST)
            with pytest.raises(MCPError) as refused:
                await client.session.send_request(GetTask(params=TaskParams(task_id=started["run_id"])), Task)
            await call(client, "nnunet_cancel", run_id=started["run_id"], force=True)
            return started, refused.value.error.code

    started, code = run(plain)

    assert started["status"] in ("queued", "running")
    assert code == -32021


def test_what_the_tool_refuses_is_refused_as_a_task_too_and_unknown_tasks_are_invalid(lab: Lab) -> None:
    async def wrong() -> tuple[types.CallToolResult, int]:
        async with client_of(lab, TasksClient()) as client:
            refused = await client.call_tool("nnunet_training", {**REQUEST, "datset": 1})
            with pytest.raises(MCPError) as unknown:
                await client.session.send_request(GetTask(params=TaskParams(task_id="../../etc")), Task)
            return refused, unknown.value.error.code

    refused, code = run(wrong)

    assert refused.is_error and "did you mean 'dataset_id'" in str(refused.content)
    assert code == types.INVALID_PARAMS


def test_who_listens_to_a_runs_resources_is_told_until_it_ends(lab: Lab) -> None:
    async def listen() -> tuple[list[str], str]:
        heard: list[str] = []
        async with client_of(lab) as client:
            run_id = (await call(client, "nnunet_training", **REQUEST))["run_id"]
            uris = [f"nnunet://runs/{run_id}", f"nnunet://runs/{run_id}/log/train_fold_0", "nnunet://runs/none"]
            async with client.listen(resource_subscriptions=uris) as subscription:
                async for event in subscription:
                    assert isinstance(event, ResourceUpdated)
                    heard.append(event.uri.removeprefix(f"nnunet://runs/{run_id}"))
                    now = await call(client, "nnunet_progress", run_id=run_id)
                    if now["status"] == "success" and heard[-1] == "":
                        return heard, str(now["status"])
        raise AssertionError("the stream ended before the run")

    heard, status = run(listen)

    assert status == "success"
    assert heard.count("") >= 2 and "/log/train_fold_0" in heard


def test_a_file_system_that_refuses_is_said_by_the_tool_and_by_the_task(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/state")

    monkeypatch.setattr("nnunet_mcp.tools.training.training.nnunet_training", refuse)
    monkeypatch.setattr("nnunet_mcp.tools.watching.snapshot.tend", refuse)
    tasks, call = RunTasks(settings), types.CallToolRequestParams(name="nnunet_training", arguments={"dataset_id": 1})

    assert anyio.run(tasks.start, call) is None
    with pytest.raises(MCPError, match=r"The file system refused: .*Permission denied"):
        anyio.run(lambda: tasks.describe("d001-2d-f0-tttt", detailed=False))


NOTHING_TO_LISTEN_TO: list[Any] = [
    {"taskIds": 5},
    {"taskIds": "abc"},
    {"taskIds": {"a": 1}},
    {"taskIds": ["a\x00b", 5, None, "x" * 5000, ".."]},
    {"taskIds": ["x"] * 2000},
    {"resourceSubscriptions": ["nnunet://runs/a\x00b", "nnunet://runs/" + "x" * 5000]},
    {"resourceSubscriptions": [f"nnunet://runs/r{number}" for number in range(2000)]},
    {"resourceSubscriptions": 5},
    5,
    [],
]


def test_what_nobody_can_listen_to_is_refused_in_words_or_ends(lab: Lab) -> None:
    said: list[str] = []

    async def listen_to(client: Client, named: Any) -> None:
        with anyio.move_on_after(2):  # some are listened to, and nothing comes
            try:
                await client.session.send_request(Listen(params={"notifications": named}), types.Result)
            except MCPError as error:
                said.append(str(error))

    async def listen() -> None:
        async with client_of(lab, TasksClient()) as client:
            async with anyio.create_task_group() as group:
                for named in NOTHING_TO_LISTEN_TO:
                    group.start_soon(listen_to, client, named)
            await call(client, "nnunet_runs")

    run(listen)
    assert said
    assert not any("Internal" in text for text in said)


def test_a_program_asks_again_soon_however_long_the_run_will_take(settings: Settings) -> None:
    run, _ = record_run(StateDir(settings.state_dir), record_of(settings), [], repeat_window_s=0)
    stage = run.stage("train_fold_0")
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    write_model(stage.state_file, StageState(status="running", started_at=time.time() - 3000))
    write_model(stage.progress_file, Progress(phase="training", heartbeat=time.time(), epochs=1000))
    numbers = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"), 0.1)
    for epoch in range(10):
        append_line(stage.epochs_file, Epoch.model_validate({"epoch": epoch, "seconds": 300.0, **numbers}))

    assert ask(settings, "nnunet_progress", run_id=run.run_id)["retry_after_s"] > MOST_POLL_S
    assert describe(run.run_id, settings, detailed=False)["pollIntervalMs"] <= 1000 * MOST_POLL_S

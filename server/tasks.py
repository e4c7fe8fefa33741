"""The Tasks extension (SEP-2663, `io.modelcontextprotocol/tasks`): a training as a task. The task is the run.

There is no second store: the task's id is the run's id, its status is derived from the run's, and so it
survives every restart. A client that did not declare the extension gets the plain tool.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import mcp.types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field, ValidationError

from ..runs.errors import RunError
from ..runs.settings import Settings
from ..schemas.requests import CancelRequest, ResultsRequest
from ..schemas.runs import ACTIVE
from ..schemas.training import TrainingRequest
from ..tools import progress, results, runs, training

EXTENSION = "io.modelcontextprotocol/tasks"
MODERN = frozenset(MODERN_PROTOCOL_VERSIONS)
TASK_TOOL = "nnunet_training"
TERMINAL = ("completed", "failed", "cancelled")
LISTEN_POLL_S = 1.0
Context = ServerRequestContext[Any, Any]


class TaskParams(types.RequestParams):
    """Parameters of tasks/get and tasks/cancel."""

    task_id: str


class UpdateParams(types.RequestParams):
    """Parameters of tasks/update; a training never asks for input."""

    task_id: str
    input_responses: dict[str, Any] = Field(default_factory=dict)


class TaskNotification(types.Notification[Any, Any]):
    """A task's new state, sent to those who listen."""

    method: str = "notifications/tasks"
    params: dict[str, Any]


class ListenAcknowledged(types.Notification[Any, Any]):
    """Which of the tasks that a client wants to listen to exist."""

    method: str = "notifications/subscriptions/acknowledged"
    params: dict[str, Any]


class TasksExtension(Extension):
    """Serves tasks/get, tasks/update, tasks/cancel, and makes a task of a call of nnunet_training."""

    identifier = EXTENSION

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("tasks/get", TaskParams, self._get, MODERN),
            MethodBinding("tasks/update", UpdateParams, self._update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, MODERN),
        ]

    async def intercept_tool_call(
        self, params: types.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Start the run and answer with the task; what the plain tool would refuse, it refuses."""
        if params.name != TASK_TOOL or not _declared(ctx):
            return await call_next(ctx)
        try:
            request = TrainingRequest.model_validate(params.arguments or {})
            started = await anyio.to_thread.run_sync(training.nnunet_training, request, self._settings)
        except (ValidationError, RunError):
            return await call_next(ctx)  # the plain tool says what is wrong, in its own words
        return {"resultType": "task", **await self._task(started.run_id, detailed=False)}

    async def listen_middleware(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Serve `subscriptions/listen` that names tasks; everything else passes through."""
        params = ctx.params if isinstance(ctx.params, dict) else {}
        wanted = (params.get("notifications") or {}).get("taskIds") if ctx.method == "subscriptions/listen" else None
        if not wanted or ctx.request_id is None:
            return await call_next(ctx)
        require_client_extension(ctx, EXTENSION)
        known = [name for name in wanted if isinstance(name, str) and await self._exists(name)]
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        acknowledged = ListenAcknowledged(params={"notifications": {"taskIds": known}, "_meta": meta})
        await _send(ctx, acknowledged)
        await self._push(ctx, known, meta)
        return {"resultType": "complete", "_meta": meta}

    async def _push(self, ctx: Context, run_ids: list[str], meta: dict[str, Any]) -> None:
        """Send each task whenever its message changes, until all have ended."""
        live, said = set(run_ids), dict[str, str]()
        while live:
            for run_id in sorted(live):
                task = await self._task(run_id, detailed=True)
                message = f"{task['status']} {task['statusMessage']}"
                if said.get(run_id) != message:
                    said[run_id] = message
                    note = TaskNotification(params={**task, "_meta": meta})
                    await _send(ctx, note)
                if task["status"] in TERMINAL:
                    live.discard(run_id)
            await anyio.sleep(LISTEN_POLL_S)

    async def _get(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        return {"resultType": "complete", **await self._task(params.task_id, detailed=True)}

    async def _update(self, ctx: Context, params: UpdateParams) -> HandlerResult:
        _check(ctx, params.task_id)
        await self._task(params.task_id, detailed=False)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        request = CancelRequest.model_construct(run_id=params.task_id)
        await self._of_run(lambda: runs.nnunet_cancel(request, self._settings))
        return {"resultType": "complete"}

    async def _exists(self, run_id: str) -> bool:
        try:
            await self._task(run_id, detailed=False)
        except MCPError:
            return False
        return True

    async def _task(self, run_id: str, *, detailed: bool) -> dict[str, Any]:
        return dict(await self._of_run(lambda: describe(run_id, self._settings, detailed=detailed)))

    async def _of_run(self, act: Callable[[], Any]) -> Any:
        try:
            return await anyio.to_thread.run_sync(act)
        except RunError as error:
            raise MCPError(types.INVALID_PARAMS, f"Unknown task: {error}") from None


async def _send(ctx: Context, notification: Any) -> None:
    """The session's type lists only core notifications; the wire takes an extension's as well."""
    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)


def _declared(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities else None
    return bool(extensions and EXTENSION in extensions) and ctx.protocol_version in MODERN


def _check(ctx: Context, task_id: str) -> None:
    """The client declared the extension, and on HTTP the header names the same task.

    Raises:
        MCPError: -32021 without the extension; a header mismatch.
    """
    require_client_extension(ctx, EXTENSION)
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and decode_header_value(headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(types.HEADER_MISMATCH, "the mcp-name header is not the 'taskId' of the request")


def describe(run_id: str, settings: Settings, *, detailed: bool) -> dict[str, Any]:
    """A run as a task of SEP-2663.

    Raises:
        RunError: no such run.
    """
    view = progress.look(settings, run_id)
    now = progress.answer(view)
    status = "working" if view.judged.status in ACTIVE else "completed"
    task = {
        "taskId": run_id,
        "status": "cancelled" if view.judged.status == "cancelled" else status,
        "statusMessage": _message(view, now.eta_s),
        "createdAt": _iso(view.record.created_at),
        "lastUpdatedAt": _iso(view.progress.heartbeat if view.progress else view.record.created_at),
        "ttlMs": None,  # runs are kept until somebody forgets them
        "pollIntervalMs": 1000 * max(1, now.retry_after_s),
    }
    return {**task, "result": tool_result(view, settings)} if detailed and task["status"] == "completed" else task


def _message(view: progress.View, eta_s: int | None) -> str:
    left = f", about {eta_s} s of training left" if eta_s is not None else ""
    return progress.headline(view) + left


def tool_result(view: progress.View, settings: Settings) -> dict[str, Any]:
    """What nnunet_results answers, with the fields that nnunet_training's output schema promises."""
    found = results.nnunet_results(ResultsRequest(run_id=view.record.run_id), settings)
    started = training.describe_run(view.run, view.record).model_dump(mode="json")
    content = {**started, **found.model_dump(mode="json"), "retry_after_s": 0}
    text = types.TextContent(type="text", text=found.model_dump_json())
    failed = view.judged.status != "success"
    result = types.CallToolResult(content=[text], structured_content=content, is_error=failed)
    return result.model_dump(mode="json", by_alias=True, exclude_none=True) | {"structuredContent": content}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

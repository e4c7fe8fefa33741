"""The protocol of the Tasks extension (SEP-2663, `io.modelcontextprotocol/tasks`), independent of what tasks are.

The source decides what a task is, where it is kept and how it ends (`run_tasks.py`: a task is a run).
"""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

import anyio
import mcp.types as types
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

EXTENSION = "io.modelcontextprotocol/tasks"
MODERN = frozenset(MODERN_PROTOCOL_VERSIONS)
TERMINAL = ("completed", "failed", "cancelled")
LISTEN_POLL_S = 1.0
MOST_LISTENED = 1000
Context = ServerRequestContext[Any, Any]
Task = dict[str, Any]
T = TypeVar("T")


class UnknownTask(Exception):
    """No such task."""


class TaskSource(Protocol):
    """Where tasks come from. A method that takes a task's id raises UnknownTask if there is no such task."""

    async def start(self, params: types.CallToolRequestParams) -> str | None:
        """Start what the call asks for and return the task's id; None leaves the call to the plain tool."""

    async def describe(self, task_id: str, *, detailed: bool) -> Task:
        """The task in the form of SEP-2663; `detailed`: with its result, error or questions."""

    async def respond(self, task_id: str, responses: dict[str, Any]) -> None:
        """Take answers to the task's questions."""

    async def cancel(self, task_id: str) -> None:
        """Ask the task to end; a task that has ended stays as it is."""


class TaskParams(types.RequestParams):
    """Parameters of tasks/get and tasks/cancel."""

    task_id: str


class UpdateParams(types.RequestParams):
    """Parameters of tasks/update."""

    task_id: str
    input_responses: dict[str, Any] = Field(default_factory=dict)


class TaskNotification(types.Notification[Any, Any]):
    """A task's new state, sent to those who listen."""

    method: str = "notifications/tasks"
    params: dict[str, Any]


class ListenAcknowledged(types.Notification[Any, Any]):
    """Which of the tasks exist that a client wants to listen to."""

    method: str = "notifications/subscriptions/acknowledged"
    params: dict[str, Any]


class TasksExtension(Extension):
    """Serves tasks/get, tasks/update and tasks/cancel, and turns calls into tasks if the source accepts them."""

    identifier = EXTENSION

    def __init__(self, source: TaskSource) -> None:
        self._source = source

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("tasks/get", TaskParams, self._get, MODERN),
            MethodBinding("tasks/update", UpdateParams, self._update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, MODERN),
        ]

    async def intercept_tool_call(
        self, params: types.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Answer with the task if the client declared the extension and the source starts one."""
        task_id = await self._source.start(params) if _declared(ctx) else None
        if task_id is None:
            return await call_next(ctx)
        return {"resultType": "task", **await self._task(task_id, detailed=False)}

    async def listen(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Serve `subscriptions/listen` that names tasks; one that names none passes through."""
        wanted = listened_to(ctx, "taskIds")
        if not wanted or ctx.request_id is None:
            return await call_next(ctx)
        require_client_extension(ctx, EXTENSION)
        if not isinstance(wanted, list) or len(wanted) > MOST_LISTENED:
            raise MCPError(types.INVALID_PARAMS, f"taskIds must be a list of at most {MOST_LISTENED} tasks.")
        known = [name for name in wanted if isinstance(name, str) and await self._exists(name)]
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        acknowledged = ListenAcknowledged(params={"notifications": {"taskIds": known}, "_meta": meta})
        await _send(ctx, acknowledged)
        await self._push(ctx, known, meta)
        return {"resultType": "complete", "_meta": meta}

    async def _push(self, ctx: Context, task_ids: list[str], meta: dict[str, Any]) -> None:
        """Send each task when it changes, until all have ended."""
        live, said = set(task_ids), dict[str, str]()
        while live:
            for task_id in sorted(live):
                task = await self._task(task_id, detailed=True)
                message = f"{task['status']} {task.get('statusMessage')}"
                if said.get(task_id) != message:
                    said[task_id] = message
                    await _send(ctx, TaskNotification(params={**task, "_meta": meta}))
                if task["status"] in TERMINAL:
                    live.discard(task_id)
            await anyio.sleep(LISTEN_POLL_S)

    async def _get(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        return {"resultType": "complete", **await self._task(params.task_id, detailed=True)}

    async def _update(self, ctx: Context, params: UpdateParams) -> HandlerResult:
        _check(ctx, params.task_id)
        await _known(self._source.respond(params.task_id, params.input_responses))
        return {"resultType": "complete"}

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        await _known(self._source.cancel(params.task_id))
        return {"resultType": "complete"}

    async def _exists(self, task_id: str) -> bool:
        try:
            await self._task(task_id, detailed=False)
        except MCPError:
            return False
        return True

    async def _task(self, task_id: str, *, detailed: bool) -> Task:
        return await _known(self._source.describe(task_id, detailed=detailed))


def for_listeners(serve: ServerMiddleware[Any]) -> ServerMiddleware[Any]:
    """The middleware that `serve` is for `subscriptions/listen`; every other request passes by it."""

    async def middleware(ctx: Context, call_next: CallNext) -> HandlerResult:
        return await (serve(ctx, call_next) if ctx.method == "subscriptions/listen" else call_next(ctx))

    return middleware


def listened_to(ctx: Context, kind: str) -> Any:
    """What a `subscriptions/listen` names under this kind, whatever it is."""
    named = ctx.params.get("notifications") if isinstance(ctx.params, dict) else None
    return named.get(kind) if isinstance(named, dict) else None


async def _known(asked: Awaitable[T]) -> T:
    """The answer of the source.

    Raises:
        MCPError: there is no such task.
    """
    try:
        return await asked
    except UnknownTask as error:
        raise MCPError(types.INVALID_PARAMS, f"Unknown task: {error}") from None


async def _send(ctx: Context, notification: Any) -> None:
    """Send a notification. The session's type allows only core notifications; the wire also allows those of an
    extension."""
    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)


def _declared(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities else None
    return bool(extensions and EXTENSION in extensions) and ctx.protocol_version in MODERN


def _check(ctx: Context, task_id: str) -> None:
    """Check that the client declared the extension and that, on HTTP, the header names the same task.

    Raises:
        MCPError: -32021 without the extension; a header mismatch.
    """
    require_client_extension(ctx, EXTENSION)
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and decode_header_value(headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(types.HEADER_MISMATCH, "the mcp-name header is not the 'taskId' of the request")

"""What the conformance suite talks to, over HTTP without a token, because the suite cannot send one.

`python -m tests.kit.conformance_app server PORT` is this server. `… tasks PORT` has the tools that the suite's
`tasks-*` scenarios ask for, on this server's own Tasks extension; those tasks live in memory.
"""

import secrets
import sys
from datetime import UTC, datetime
from typing import Any

import anyio
import mcp.types as types
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver import MCPServer, require_client_extension
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from nnunet_mcp.server.app import create_server
from nnunet_mcp.server.protocol.tasks import (
    EXTENSION,
    TERMINAL,
    Context,
    Task,
    TasksExtension,
    UnknownTask,
    for_listeners,
)
from nnunet_mcp.settings import Settings

BODIES = ("slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task")
ONLY_AS_TASK = ("failing_job", "confirm_delete", "multi_input")


class Job:
    """One task: its state, and the answers it got."""

    def __init__(self) -> None:
        now = _now()
        self.task: Task = {"status": "working", "statusMessage": "at work", "createdAt": now, "lastUpdatedAt": now}
        self.task |= {"taskId": secrets.token_urlsafe(16), "ttlMs": 600_000, "pollIntervalMs": 200}
        self.details: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.answered = anyio.Event()

    def become(self, status: str, **details: Any) -> None:
        if self.task["status"] not in TERMINAL:
            self.task |= {"status": status, "statusMessage": status, "lastUpdatedAt": _now()}
            self.details = details

    async def ask(self, **questions: str) -> dict[str, Any]:
        self.become("input_required", inputRequests={name: _question(text) for name, text in questions.items()})
        while not questions.keys() <= self.answers.keys():
            await self.answered.wait()
            self.answered = anyio.Event()
        self.become("working")
        return self.answers


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _question(text: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"]}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": text, "requestedSchema": schema}}


async def work(name: str, job: Job, arguments: dict[str, Any], answers: Any) -> str:
    """What each tool does."""
    if name == "slow_compute":
        await anyio.sleep(float(arguments.get("seconds", 1)))
    elif name == "failing_job":
        await anyio.sleep(1)
        raise ToolError("job failed as designed")
    elif name == "protocol_error_job":
        raise MCPError(types.INTERNAL_ERROR, "Internal failure in job")
    elif name == "confirm_delete":
        await job.ask(confirm=f"Delete {arguments.get('filename')}?")
    elif name == "multi_input":
        await job.ask(first="First?", second="Second?")
    return f"done {name} {answers or job.answers}"


class Jobs:
    """A source of tasks that the scenarios know."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.group: anyio.abc.TaskGroup | None = None

    async def start(self, params: types.CallToolRequestParams) -> str | None:
        first_round = params.name == "test_tool_with_task" and not params.input_responses
        if params.name not in BODIES or first_round or self.group is None:
            return None
        job = Job()
        self.jobs[job.task["taskId"]] = job
        self.group.start_soon(self._run, job, params)
        return str(job.task["taskId"])

    async def _run(self, job: Job, params: types.CallToolRequestParams) -> None:
        try:
            text = await work(params.name, job, params.arguments or {}, params.input_responses)
            job.become("completed", result={"content": [{"type": "text", "text": text}]})
        except ToolError as error:
            job.become("completed", result={"content": [{"type": "text", "text": str(error)}], "isError": True})
        except MCPError as error:
            job.become("failed", error=error.error.model_dump(exclude_none=True))

    def _job(self, task_id: str) -> Job:
        if task_id not in self.jobs:
            raise UnknownTask(task_id)
        return self.jobs[task_id]

    async def describe(self, task_id: str, *, detailed: bool) -> Task:
        job = self._job(task_id)
        return {**job.task, **(job.details if detailed else {})}

    async def respond(self, task_id: str, responses: dict[str, Any]) -> None:
        job = self._job(task_id)
        asked = job.details.get("inputRequests", {})
        job.answers |= {name: value for name, value in responses.items() if name in asked}
        job.details = {"inputRequests": {name: asked[name] for name in asked if name not in job.answers}}
        job.answered.set()

    async def cancel(self, task_id: str) -> None:
        self._job(task_id).become("cancelled")


class Extension(TasksExtension):
    """Some of the scenarios' tools exist as tasks only."""

    async def intercept_tool_call(
        self, params: types.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        if params.name in ONLY_AS_TASK:
            require_client_extension(ctx, EXTENSION)
        return await super().intercept_tool_call(params, ctx, call_next)


def build(jobs: Jobs) -> MCPServer:
    """The server of the scenarios."""
    extension = Extension(jobs)
    app = MCPServer("conformance", version="1", extensions=[extension], middleware=[for_listeners(extension.listen)])

    @app.tool()
    def greet(name: str) -> str:
        """Say hello."""
        return f"Hello, {name}!"

    @app.tool()
    async def slow_compute(seconds: float = 1, label: str = "") -> str:
        """Take a while."""
        await anyio.sleep(seconds)
        return f"done {label}"

    @app.tool()
    def failing_job() -> types.CallToolResult:
        """Fail."""
        raise ToolError("failed")

    @app.tool()
    def protocol_error_job() -> types.CallToolResult:
        """Fail in the protocol."""
        raise ToolError("failed")

    @app.tool()
    def confirm_delete(filename: str) -> types.CallToolResult:
        """Ask before it deletes."""
        raise ToolError("only as a task")

    @app.tool()
    def multi_input() -> types.CallToolResult:
        """Ask twice."""
        raise ToolError("only as a task")

    @app.tool()
    def test_tool_with_task() -> types.InputRequiredResult:
        """Ask before it becomes a task."""
        form = types.ElicitRequestFormParams(
            message="Your name?",
            requested_schema={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        )
        return types.InputRequiredResult(input_requests={"user_name": types.ElicitRequest(params=form)})

    return app


async def serve_tasks(port: int) -> None:
    """Serve the scenarios' tools on the loopback address until killed."""
    jobs = Jobs()
    async with anyio.create_task_group() as jobs.group:
        await build(jobs).run_streamable_http_async(port=port)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        anyio.run(lambda: create_server(Settings()).run_streamable_http_async(port=int(sys.argv[2])))
    else:
        anyio.run(serve_tasks, int(sys.argv[2]))

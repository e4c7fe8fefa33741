"""Trainings as tasks. A task is a run: it has the run's id, and its status is derived from the run's.

There is no second store, so tasks survive every restart. Clients that did not declare the extension get the plain tool.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import mcp.types as types
from anyio.to_thread import run_sync
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from ...errors import RunError
from ...schemas.records import ACTIVE
from ...schemas.run_list import CancelRequest
from ...schemas.training import TrainingCall
from ...settings import Settings
from ...texts import for_agents, visible
from ...tools import BY_NAME
from ...tools.helping import told
from .tasks import Task, UnknownTask

if TYPE_CHECKING:
    from ...tools.watching.snapshot import RunSnapshot

TASK_TOOL = "nnunet_training"
T = TypeVar("T")


class RunTasks:
    """The runs of the state folder, as tasks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def start(self, params: types.CallToolRequestParams) -> str | None:
        """Start the run. If the plain tool would refuse, leave the call to it, so that it explains the reason."""
        if params.name != TASK_TOOL:
            return None
        try:
            request = TrainingCall.model_validate(params.arguments or {})
            started = await run_sync(BY_NAME[TASK_TOOL], request, self._settings)
        except (ValidationError, RunError, OSError):
            return None
        return str(started.run_id)

    async def describe(self, task_id: str, *, detailed: bool) -> Task:
        """The run as a task, with nnunet_results' answer once it has ended."""
        return await _of_run(lambda: dict(for_agents(describe(task_id, self._settings, detailed=detailed))))

    async def respond(self, task_id: str, responses: dict[str, Any]) -> None:
        """Ignored: a training never asks anything."""
        await self.describe(task_id, detailed=False)

    async def cancel(self, task_id: str) -> None:
        """Ask the run to end after its epoch."""
        request = CancelRequest.model_construct(run_id=task_id)
        await _of_run(lambda: BY_NAME["nnunet_cancel"](request, self._settings))


# A program asks for a task, which costs no model a word, and a run may be cancelled at any time.
MOST_POLL_S = 15


async def _of_run(act: Callable[[], T]) -> T:
    try:
        return await run_sync(act)
    except RunError as error:
        raise UnknownTask(visible(for_agents(told(error)))) from None
    except OSError as error:
        raise MCPError(types.INTERNAL_ERROR, f"The file system refused: {error}.") from None


def describe(run_id: str, settings: Settings, *, detailed: bool) -> dict[str, Any]:
    """A run as a task of SEP-2663.

    Raises:
        RunError: no such run.
    """
    from ...tools.watching.progress import answer
    from ...tools.watching.snapshot import tend

    view = tend(settings, run_id)
    now = answer(view)
    status = "working" if view.judged.status in ACTIVE else "completed"
    task = {
        "taskId": run_id,
        "status": "cancelled" if view.judged.status == "cancelled" else status,
        "statusMessage": _message(view, now.eta_s),
        "createdAt": _iso(view.record.created_at),
        "lastUpdatedAt": _iso(view.moment.progress.heartbeat if view.moment.progress else view.record.created_at),
        "ttlMs": None,  # runs are kept until the user removes them
        "pollIntervalMs": 1000 * min(MOST_POLL_S, max(1, now.retry_after_s)),
    }
    return {**task, "result": tool_result(view)} if detailed and task["status"] == "completed" else task


def _message(view: "RunSnapshot", eta_s: int | None) -> str:
    from ...tools.watching.progress import headline

    left = f", about {eta_s} s left" if eta_s is not None else ""
    return headline(view) + left


def tool_result(view: "RunSnapshot") -> dict[str, Any]:
    """What nnunet_results answers, with the fields that nnunet_training's output schema promises."""
    from ...tools.training.training import describe_run
    from ...tools.watching.results import result_of

    found = result_of(view)
    started = describe_run(view.run, view.record).model_dump(mode="json")
    content = for_agents({**started, **found.model_dump(mode="json"), "retry_after_s": 0})
    text = types.TextContent(type="text", text=for_agents(found).model_dump_json())
    failed = view.judged.status != "success"
    result = types.CallToolResult(content=[text], structured_content=content, is_error=failed)
    return result.model_dump(mode="json", by_alias=True, exclude_none=True) | {"structuredContent": content}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

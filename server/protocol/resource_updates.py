"""Notify clients that listen to a run's resources when they change, while the run is active.

The processes that change runs know nothing of this server, so the server has to check. Each `subscriptions/listen`
checks the runs that it names, until its stream ends.
"""

import re
from typing import Any

import anyio
import mcp.types as types
from anyio.to_thread import run_sync
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated
from mcp.shared.exceptions import MCPError

from ...errors import RunError
from ...schemas.records import ACTIVE
from ...settings import Settings
from .tasks import MOST_LISTENED, listened_to

POLL_S = 1.0
ADDRESS = re.compile(r"nnunet://runs/(?P<run_id>[^/]+)(?:/log/(?P<stage>[a-z][a-z0-9_]*))?")


class ResourceUpdates:
    """Publishes changes of runs and of their logs on the server's bus."""

    def __init__(self, settings: Settings) -> None:
        self.bus = InMemorySubscriptionBus()
        self._settings = settings
        self._seen: dict[str, str] = {}

    async def listen(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Watch what a `subscriptions/listen` names while it is served."""
        wanted = listened_to(ctx, "resourceSubscriptions")
        uris = [uri for uri in wanted if isinstance(uri, str)] if isinstance(wanted, list) else []
        if not uris:
            return await call_next(ctx)
        if len(uris) > MOST_LISTENED:
            raise MCPError(types.INVALID_PARAMS, f"At most {MOST_LISTENED} resources can be listened to at once.")
        async with anyio.create_task_group() as watching:
            for uri in uris:
                watching.start_soon(self._watch, uri)
            result = await call_next(ctx)
            watching.cancel_scope.cancel()
        return result

    async def _watch(self, uri: str) -> None:
        found = ADDRESS.fullmatch(uri)
        if found is None:
            return
        # Two clients may listen to one run: a change that one check has published is not published again.
        alive, state = await run_sync(self._state, found["run_id"], found["stage"])
        self._seen.setdefault(uri, state)
        while alive:
            await anyio.sleep(POLL_S)
            alive, state = await run_sync(self._state, found["run_id"], found["stage"])
            if self._seen.get(uri) != state:
                self._seen[uri] = state
                await self.bus.publish(ResourceUpdated(uri=uri))

    def _state(self, run_id: str, stage: str | None) -> tuple[bool, str]:
        """Whether the run is active, and a value that changes with the resource: its headline, or its log's size."""
        from ...tools.watching.progress import headline
        from ...tools.watching.snapshot import snapshot

        try:
            view = snapshot(self._settings, run_id)
        except RunError:
            return False, ""
        alive = view.judged.status in ACTIVE
        if stage is None:
            return alive, f"{view.judged.status} {headline(view)}"
        log = view.run.stage(stage).log_file
        return alive, str(log.stat().st_size if log.is_file() else 0)

"""Limits that keep an HTTP server answering: on its connections, and on the time in which a request must arrive.

uvicorn 0.54.0 waits for ever for the rest of a request, and its limit_concurrency counts only complete ones.
"""

import asyncio
import resource
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

# Our requests have at most a megabyte.
REQUEST_S = 10.0
MOST_CONNECTIONS = 512
# How many connections the loop accepts at once, before it handles any of them.
MOST_AT_ONCE = 256
# Reserved for everything but connections: files of runs, processes that tools start, libraries.
OTHER_FILES = 96
FEWEST = 8


@dataclass(frozen=True)
class Room:
    """How many connections may be open, and be accepted at once, so that other uses of file descriptors are safe."""

    connections: int
    at_once: int

    @classmethod
    def here(cls) -> "Room":
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        left = 4 * MOST_CONNECTIONS if limit == resource.RLIM_INFINITY else limit - OTHER_FILES
        at_once = max(FEWEST, min(MOST_AT_ONCE, left // 4))
        # A connection that is closed to make room disappears only in the loop's next turn.
        return cls(max(FEWEST, min(MOST_CONNECTIONS, left - 2 * at_once)), at_once)


class BoundedProtocol(H11Protocol):
    """A connection that is closed if its next request is not complete in time, or if room is needed.

    A client that sends incomplete requests loses its oldest ones, and cannot keep others out.
    """

    def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._most = Room.here().connections
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(REQUEST_S, transport.abort)
        if len(self.connections) > self._most:
            _make_room(self, self.connections)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_served():
            self._stop_clock()
        elif self._late is None:
            self._late = self.loop.call_later(REQUEST_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def is_served(self) -> bool:
        """Whether a request is complete and its answer is not."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def since(self) -> float:
        """When the connection began to wait for a request."""
        return self._late.when() if self._late is not None else 0.0  # between two requests

    def _stop_clock(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _make_room(newest: BoundedProtocol, open_now: Any) -> None:
    """Close the connection that has waited longest for a request; if all are being served, close the new one."""
    waiting = [one for one in open_now if one is not newest and not one.is_served()]
    oldest = min(waiting, key=BoundedProtocol.since, default=newest)
    open_now.discard(oldest)  # it is gone only in the loop's next turn
    oldest.transport.abort()

"""The host names under which the server may be reached, so that a web page cannot reach it under another (DNS
rebinding)."""

import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOCAL = ("127.0.0.1", "localhost", "[::1]")
HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[\w.-]+)(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
ORIGIN = re.compile(rf"https?://{HOST.pattern}", re.ASCII | re.IGNORECASE)


def in_url(host: str) -> str:
    """The host as in a URL and a Host header, where an IPv6 address is in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def names_of(host: str, extra: str) -> frozenset[str]:
    """This machine's own names, `host`, and those in `extra`."""
    named = (part.strip() for part in extra.split(",") if part.strip())
    return frozenset(name.lower() for name in (*LOCAL, in_url(host), *named))


class OnlyNames:
    """Answers only requests whose Host, and Origin if there is one, is one of the names; on every path."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _refused(self, headers: Headers) -> PlainTextResponse | None:
        if not self._knows(HOST, headers.get("host", "")):
            return PlainTextResponse("Invalid Host header", status_code=421)
        if not all(self._knows(ORIGIN, origin) for origin in headers.getlist("origin")):
            return PlainTextResponse("Invalid Origin header", status_code=403)
        return None

    def _knows(self, form: "re.Pattern[str]", value: str) -> bool:
        found = form.fullmatch(value)
        return found is not None and found["name"].lower() in self._names

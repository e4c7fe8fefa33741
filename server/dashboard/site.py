"""The dashboard in a browser: `/` is the page, `/call` runs a tool for it.

The page holds nothing of anybody's and is served to whoever asks; its data come from `/call`, which wants the token.
The page takes the token out of the address, where it stands behind the #: no browser sends that, no log and no
referrer has it. It sends it as a header; a cookie would go to every other port of this machine, and with requests of
other sites.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

from mcp import Client
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import page_html, script_text, style_text

TOOLS = (
    "nnunet_dashboard_data",
    "nnunet_logs",
    "nnunet_plot",
    "nnunet_datasets",
    "nnunet_system",
    "nnunet_queue",
    "nnunet_cancel",
    "nnunet_training",
)
# The page goes on with stopped runs; it starts no others.
RESUMES = {"dataset_id", "like", "continue_training"}
BODY_BYTES = 16 * 1024
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Refusal(Exception):
    """A request that is not carried out."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = PlainTextResponse(text, status, HEADERS)


class Site:
    """The page of a server's tools, behind its token."""

    def __init__(self, app: MCPServer, token: str) -> None:
        self._app = app
        self._bearer = f"Bearer {token}".encode()

    @property
    def routes(self) -> list[Route]:
        return [Route("/", self.page, methods=["GET"]), Route("/call", self.call, methods=["POST"])]

    async def warm_up(self) -> None:
        """Import what the page's first look needs, so that nobody waits for it."""
        async with Client(self._app) as client:
            await client.call_tool(TOOLS[0], {})

    async def page(self, request: Request) -> Response:
        """The page; it is the same for everybody."""
        return HTMLResponse(page_html(browser=True), headers={**HEADERS, "Content-Security-Policy": _policy()})

    async def call(self, request: Request) -> Response:
        """Run a tool: {"tool": name, "arguments": {…}} in, the tool's result out."""
        try:
            self._admit(request)
            tool, arguments = _wanted(await _body(request))
        except Refusal as refusal:
            return refusal.response
        async with Client(self._app) as client:
            result = await client.call_tool(tool, arguments)
        return JSONResponse(result.model_dump(mode="json", by_alias=True, exclude_none=True), headers=HEADERS)

    def _admit(self, request: Request) -> None:
        """Only the page itself, and only with the token."""
        headers = request.headers
        own = {f"{scheme}://{headers.get('host', '')}" for scheme in ("http", "https")}
        from_elsewhere = headers.get("sec-fetch-site", "same-origin") != "same-origin"
        if from_elsewhere or not own.issuperset(headers.getlist("origin")):
            raise Refusal(403, "Only the page itself may ask.")
        if not hmac.compare_digest(headers.get("authorization", "").encode(), self._bearer):
            raise Refusal(401, "The token is missing or wrong.")
        # Other sites cannot send JSON without asking first, which nobody here answers.
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refusal(415, "Send JSON.")


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise Refusal(413, f"A call has at most {BODY_BYTES} bytes.")
    return body


def _wanted(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        asked = json.loads(body)
        tool, arguments = asked["tool"], asked.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refusal(400, 'Send {"tool": name, "arguments": {…}}.') from None
    if tool not in TOOLS or not isinstance(arguments, dict):
        raise Refusal(403, "The page uses no such tool.")
    resumes = RESUMES <= set(arguments) <= RESUMES | {"after"} and arguments["continue_training"] is True
    if tool == "nnunet_training" and not resumes:
        raise Refusal(403, "The page only goes on with runs that were stopped.")
    return tool, arguments


def _policy() -> str:
    """Only the page's own script and style, and pictures that are in an answer."""
    return (
        f"default-src 'none'; script-src {_hash(script_text(browser=True))}; style-src {_hash(style_text())}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

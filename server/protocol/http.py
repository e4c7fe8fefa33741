"""Serve MCP and the dashboard over HTTP: always with a bearer token, and only under the allowed host names."""

import hmac
import secrets
import socket
import sys
from typing import Any

import uvicorn
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from nnunet_mcp import __version__

from ...errors import Refused
from ...settings import Settings
from ..app import create_server
from ..dashboard.site import Site
from .file_descriptors import log_plainly
from .http_limits import BoundedProtocol, Room
from .http_names import OnlyNames, in_url, names_of

SCOPE = "mcp"
BODY_BYTES = 1024 * 1024
# Sessions take about 40 KiB each. The SDK closes one that is unused for half an hour.
MOST_SESSIONS = 500
TOKEN_CHARACTERS = 16
CANNOT_LISTEN = 3  # uvicorn's own exit code


class OneToken(TokenVerifier):
    """Accepts the one token; compared in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify_token(self, token: str) -> AccessToken | None:
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token=token, client_id="bearer", scopes=[SCOPE])


def serve_http(settings: Settings, *, host: str, port: int, read_only: bool) -> None:
    """Serve on http://host:port/mcp until SIGINT or SIGTERM. Runs go on.

    Raises:
        Refused: the token is too short.
    """
    token = chosen_token(settings) or _new_token()
    app = create_server(settings, read_only=read_only, token_verifier=OneToken(token), auth=_auth(host, port))
    _add_health(app)
    _add_page(app, token)
    print(f"nnunet-mcp serves on http://{in_url(host)}:{port}/mcp, for browsers on /", file=sys.stderr, flush=True)
    answer(_application(app, host), names_of(host, settings.http_hosts), host=host, port=port, lifespan="on")


def answer(app: ASGIApp, names: frozenset[str], *, listener: socket.socket | None = None, **options: Any) -> None:
    """Let the application answer until SIGINT or SIGTERM, under these names only and within the limits."""
    log_plainly()
    config = uvicorn.Config(
        OnlyNames(app, names),
        loop="asyncio",
        http=BoundedProtocol,
        ws="none",
        backlog=Room.here().at_once,
        log_config=None,
        **options,
    )
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener] if listener else None)
    except KeyboardInterrupt:
        return
    if not server.started:
        sys.exit(CANNOT_LISTEN)


def _application(app: MCPServer, host: str) -> Starlette:
    return app.streamable_http_app(
        host=host,
        max_request_body_size=BODY_BYTES,
        max_sessions=MOST_SESSIONS,
        # OnlyNames is stricter: the SDK accepts anything as a port.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


def chosen_token(settings: Settings) -> str | None:
    """The token that the person has set.

    Raises:
        Refused: it is too short.
    """
    if settings.http_token is None:
        return None
    token = settings.http_token.get_secret_value()
    if len(token.strip()) < TOKEN_CHARACTERS:
        raise Refused(
            f"NNUNET_MCP_HTTP_TOKEN has fewer than {TOKEN_CHARACTERS} characters, so it could be guessed. Choose a "
            "longer one, or leave it out: then one is made up and shown."
        )
    return token


def _new_token() -> str:
    """A new token, shown once, because none was set."""
    token = secrets.token_urlsafe(32)
    print(f"Bearer token (set NNUNET_MCP_HTTP_TOKEN to choose your own): {token}", file=sys.stderr, flush=True)
    return token


def _auth(host: str, port: int) -> AuthSettings:
    # Without resource_server_url no OAuth metadata are published, which would send clients to a server that does not
    # exist.
    issuer = AnyHttpUrl(f"http://{in_url(host)}:{port}")
    return AuthSettings(issuer_url=issuer, resource_server_url=None, required_scopes=[SCOPE])


def _add_page(app: MCPServer, token: str) -> None:
    for route in Site(app, token).routes:
        app.custom_route(route.path, methods=sorted(route.methods or ()))(route.endpoint)


def _add_health(app: MCPServer) -> None:
    @app.custom_route("/health", methods=["GET"])  # type: ignore[untyped-decorator]
    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "version": __version__})

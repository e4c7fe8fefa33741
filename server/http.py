"""Serve MCP over HTTP: a bearer token always, and only for the host names it is meant for."""

import hmac
import secrets
import sys

from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.requests import Request
from starlette.responses import JSONResponse

from nnunet_mcp import __version__

from ..runs.settings import Settings
from .app import create_server

SCOPE = "mcp"
BODY_BYTES = 1024 * 1024
LOCAL = ("127.0.0.1", "localhost", "[::1]")


class OneToken(TokenVerifier):
    """Lets in whoever has the token; compared in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify_token(self, token: str) -> AccessToken | None:
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token=token, client_id="bearer", scopes=[SCOPE])


def serve_http(settings: Settings, *, host: str, port: int, read_only: bool) -> None:
    """Serve on http://host:port/mcp until SIGINT or SIGTERM. Runs go on."""
    token = settings.http_token.get_secret_value() if settings.http_token else _new_token()
    app = create_server(settings, read_only=read_only, token_verifier=OneToken(token), auth=_auth(host, port))
    _add_health(app)
    print(f"nnunet-mcp serves on http://{in_url(host)}:{port}/mcp", file=sys.stderr, flush=True)
    app.run(
        "streamable-http",
        host=host,
        port=port,
        max_request_body_size=BODY_BYTES,
        transport_security=protection(host, settings.http_hosts),
    )


def _new_token() -> str:
    """Made up and shown once, because none was set."""
    token = secrets.token_urlsafe(32)
    print(f"Bearer token (set NNUNET_MCP_HTTP_TOKEN to choose your own): {token}", file=sys.stderr, flush=True)
    return token


def _auth(host: str, port: int) -> AuthSettings:
    # Without resource_server_url no OAuth metadata is published that would send clients to a server that is not there.
    issuer = AnyHttpUrl(f"http://{in_url(host)}:{port}")
    return AuthSettings(issuer_url=issuer, resource_server_url=None, required_scopes=[SCOPE])


def in_url(host: str) -> str:
    """The host as a URL and a Host header have it: an IPv6 address stands in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def protection(host: str, extra: str) -> TransportSecuritySettings:
    """Which Host and Origin headers are answered: this machine's own names, `host`, and those in `extra`.

    A web page that a browser has open cannot reach the server under another name (DNS rebinding).
    """
    names = {*LOCAL, in_url(host), *(part.strip() for part in extra.split(",") if part.strip())}
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=sorted(f"{name}:*" for name in names) + sorted(names),
        allowed_origins=sorted(
            f"{scheme}://{name}{port}" for name in names for scheme in ("http", "https") for port in ("", ":*")
        ),
    )


def _add_health(app: MCPServer) -> None:
    @app.custom_route("/health", methods=["GET"])  # type: ignore[untyped-decorator]
    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "version": __version__})

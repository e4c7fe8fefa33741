"""`nnunet-mcp dashboard`: the page on this machine's own address, for a browser here or at the end of an SSH tunnel."""

import html
import os
import secrets
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import anyio
from starlette.routing import Router

from ...errors import Refused
from ...files import write_text
from ...settings import Settings
from ..app import create_server
from ..protocol.http import answer, chosen_token
from ..protocol.http_names import names_of
from .site import Site

HOST = "127.0.0.1"
PORT = 8766


def serve_dashboard(settings: Settings, *, port: int | None, show: bool, read_only: bool) -> None:
    """Serve the page until Ctrl-C. Runs go on.

    Raises:
        Refused: the port is taken, or the chosen token too short.
    """
    own = chosen_token(settings)
    token = own or secrets.token_urlsafe(32)
    site = Site(create_server(settings, read_only=read_only), token)
    listener = _listen(port)
    anyio.run(site.warm_up)
    port = listener.getsockname()[1]
    # The browser's history keeps the address: a token that lasts is not put into it, the page asks for it.
    address = f"http://{HOST}:{port}/" + ("" if own else f"#token={token}")
    page = Router(site.routes, redirect_slashes=False)
    with suppress(KeyboardInterrupt), _shown(address) if show and _has_browser() else nullcontext():
        print(_told(address, port, asks=own is not None), flush=True)
        answer(page, names_of(HOST, ""), listener=listener, lifespan="off", log_level="warning", access_log=False)


def _listen(port: int | None) -> socket.socket:
    """A socket on the port; without one on the usual port, or on any that is free where somebody else has that."""
    for wanted in (PORT, 0) if port is None else (port,):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
            listener.listen()
            return listener
        except (OSError, OverflowError) as error:
            listener.close()
            reason = error
    raise Refused(f"--port {port} cannot be used ({reason}). Leave it out to get a free one.")


def _told(address: str, port: int, *, asks: bool) -> str:
    there = f"{os.environ.get('USER', 'USER')}@{socket.gethostname()}"
    key = "The page asks for your NNUNET_MCP_HTTP_TOKEN" if asks else "The address has a token"
    return (
        f"Dashboard: {address}\n"
        f"From another machine: ssh -L {port}:{HOST}:{port} {there}, then open the same address there.\n"
        f"{key}: whoever has it can see and stop your runs. Ctrl-C ends the page, never a run."
    )


def _has_browser() -> bool:
    """Whether a window would open where the person sits: not over SSH, nor a text browser in this terminal."""
    remote = {"SSH_CONNECTION", "SSH_TTY"} & os.environ.keys()
    screen = sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return bool(screen) and not remote and sys.stdout.isatty()


@contextmanager
def _shown(address: str) -> Iterator[None]:
    """Open the address in the browser. Through a file of one's own: other users can read a program's arguments."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "dashboard.html"
        write_text(page, f'<meta http-equiv="refresh" content="0;url={html.escape(address)}">')
        webbrowser.open(page.as_uri())
        yield

"""Who hears of runs: a real mail server and a real webhook of this machine, and what they got."""

import asyncio
import email
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import BaseModel

from tests.kit.lab import free_port

PASSWORD = "geheim-4711"
# Whom the mail server does not know.
NOBODY = "nobody@lab.example"


class Message(BaseModel):
    """What arrived."""

    title: str
    text: str


@dataclass
class Hearer:
    """An address and what arrived there."""

    address: str
    got: list[Message] = field(default_factory=list)


@contextmanager
def mail_server(port: int | None = None) -> Iterator[Hearer]:
    """A mail server that wants the password."""
    port = port or free_port()
    heard = Hearer(f"mailto://me:{PASSWORD}@lab.example:{port}?smtp=127.0.0.1&to=you@lab.example&mode=insecure")
    server = Controller(
        _Mailbox(heard),
        hostname="127.0.0.1",
        port=port,
        authenticator=_knows,
        auth_require_tls=False,
        auth_required=True,
    )
    server.start()
    try:
        yield heard
    finally:
        server.stop()


def _knows(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=isinstance(data, LoginPassword) and data.password == PASSWORD.encode())


@dataclass
class _Mailbox:
    heard: Hearer

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await asyncio.sleep(0)
        if address.startswith(NOBODY):
            return "550 unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(0)
        content = email.message_from_bytes(envelope.original_content or b"")
        parts = [part for part in content.walk() if part.get_content_type() == "text/plain"]
        text = parts[0].get_payload(decode=True)
        assert isinstance(text, bytes)
        self.heard.got.append(Message(title=str(content["Subject"]), text=text.decode()))
        return "250 OK"


@contextmanager
def webhook(port: int | None = None) -> Iterator[Hearer]:
    """A web server that takes apprise's JSON."""
    heard = Hearer("")

    class Post(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.got.append(Message(title=content["title"], text=content["message"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", port or 0), Post) as server:
        heard.address = f"json://me:{PASSWORD}@127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield heard
        finally:
            server.shutdown()

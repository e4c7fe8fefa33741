"""A real server on the loopback address, and raw requests to it."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nnunet_mcp.launch import python_command
from nnunet_mcp.tools.start_up import HELLO
from tests.kit.lab import Lab, free_port, until

TOKEN = "a-token-of-the-test"
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@dataclass
class Served:
    """A server that listens."""

    process: "subprocess.Popen[bytes]"
    port: int
    host: str = "127.0.0.1"
    sign: str = "/health"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def post(self, path: str = "/mcp", **headers: str) -> int:
        """The HTTP status of an initialize with these headers."""
        return self._status(path, json.dumps(HELLO).encode(), headers)

    def get(self, path: str, **headers: str) -> int:
        """The HTTP status of a GET."""
        return self._status(path, None, headers)

    def _status(self, path: str, body: bytes | None, headers: dict[str, str]) -> int:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.url}{path}", body, {**ACCEPT, **names})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def answers(self) -> bool:
        try:
            return self.get(self.sign) == 200
        except OSError:
            return False


@contextmanager
def serving(lab: Lab, *words: str, host: str = "127.0.0.1", **options: Any) -> Iterator[Served]:
    """A server process until the end of the block, at which it has to go when it is asked to."""
    with _process(lab, ["serve", "--http", *words], **options) as (process, port):
        server = Served(process, port, host)
        assert until(server.answers)
        yield server


@contextmanager
def showing(lab: Lab, *words: str, port: int | None = None, token: str = TOKEN, **options: Any) -> Iterator[Served]:
    """The dashboard for browsers, the same way; `words` stand before the command."""
    with _process(lab, [*words, "dashboard", "--no-open"], port, token, **options) as (process, port):
        server = Served(process, port, sign="/")
        assert until(server.answers)
        yield server


@contextmanager
def _process(
    lab: Lab, words: list[str], port: int | None = None, token: str = TOKEN, **options: Any
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    port = port or free_port()
    process = subprocess.Popen(
        [*python_command(sys.executable, "nnunet_mcp"), *words, "--port", str(port)],
        env={**lab.environment, "NNUNET_MCP_HTTP_TOKEN": token},
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options},
    )
    try:
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
    assert code in (0, -signal.SIGTERM)

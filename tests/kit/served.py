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
            return self.get("/health") == 200
        except OSError:
            return False


@contextmanager
def serving(lab: Lab, *words: str, host: str = "127.0.0.1", **options: Any) -> Iterator[Served]:
    """A server process until the end of the block, at which it has to go when it is asked to."""
    port = free_port()
    process = subprocess.Popen(
        [*python_command(sys.executable, "nnunet_mcp"), "serve", "--http", "--port", str(port), *words],
        env={**lab.environment, "NNUNET_MCP_HTTP_TOKEN": TOKEN},
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options},
    )
    server = Served(process, port, host)
    try:
        assert until(server.answers)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
    assert code in (0, -signal.SIGTERM)

"""Serving over HTTP: a real server process on the loopback address."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import HEADER_MISMATCH, INVALID_PARAMS

from nnunet_mcp.server.http import protection
from nnunet_mcp.server.tasks import EXTENSION
from tests.lab import Lab, call, free_port, until

TOKEN = "a-token-of-the-test"


@dataclass
class Served:
    """A server that listens."""

    process: "subprocess.Popen[bytes]"
    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def post(self, **headers: str) -> int:
        """The HTTP status of an initialize with these headers."""
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.url}/mcp", json.dumps(message).encode(), {**accept, **names})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "nnunet_mcp", "serve", "--http", "--port", str(port)],
        env={**Lab(tmp_path).environment, "NNUNET_MCP_HTTP_TOKEN": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Served(process, port)
    assert until(lambda: _answers(server))
    yield server
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) in (0, -signal.SIGTERM)


def _answers(server: Served) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/health", timeout=5) as answer:
            return bool(json.loads(answer.read())["status"] == "ok")
    except OSError:
        return False


def test_nobody_gets_in_without_the_token(served: Served) -> None:
    assert served.post() == 401
    assert served.post(Authorization="Bearer wrong") == 401
    assert served.post(Authorization=f"Bearer {TOKEN}") == 200


def test_another_host_name_or_origin_is_refused_even_with_the_token(served: Served) -> None:
    bearer = f"Bearer {TOKEN}"
    assert served.post(Authorization=bearer, Host="evil.example") == 421
    assert served.post(Authorization=bearer, Origin="http://evil.example") == 403


@pytest.mark.parametrize("origin", ["http://lab.example", "https://lab.example", "https://lab.example:8443"])
def test_a_page_of_a_named_host_may_call(origin: str) -> None:
    allowed = protection("127.0.0.1", "lab.example").allowed_origins

    assert origin in allowed or f"{origin.removesuffix(':8443')}:*" in allowed
    assert not any("evil" in name for name in allowed)


def test_an_ipv6_address_is_served(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not _has_loopback_of_ipv6():
        pytest.skip("this machine has no IPv6")
    port = free_port()
    environment = {**Lab(tmp_path).environment, "NNUNET_MCP_HTTP_TOKEN": TOKEN}
    command = [sys.executable, "-m", "nnunet_mcp", "serve", "--http", "--host", "::1", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = Served(process, port, "[::1]")
        assert until(lambda: _answers(server))
        assert server.post(Authorization=f"Bearer {TOKEN}") == 200
    finally:
        process.terminate()
        process.wait(timeout=20)


def _has_loopback_of_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as one:
        return one.connect_ex(("::1", 1)) == errno.ECONNREFUSED


def test_several_clients_use_the_tools_at_once(served: Served) -> None:
    async def one() -> list[Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers) as http,
            Client(streamable_http_client(f"{served.url}/mcp", http_client=http)) as client,
        ):
            return list((await call(client, "nnunet_runs"))["runs"])

    async def all_at_once() -> None:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(one)

    anyio.run(all_at_once)
    assert served.process.poll() is None


def test_a_token_is_made_and_shown_once_where_none_is_set(tmp_path: Path) -> None:
    environment = {name: value for name, value in Lab(tmp_path).environment.items() if name != "NNUNET_MCP_HTTP_TOKEN"}
    process = subprocess.Popen(
        [sys.executable, "-m", "nnunet_mcp", "serve", "--http", "--port", "0"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    os.kill(process.pid, signal.SIGTERM)
    rest = process.communicate(timeout=20)[1]
    token = line.rsplit(" ", 1)[1].strip()
    assert "Bearer token" in line and len(token) >= 40
    assert token not in rest


def test_a_task_is_told_only_where_the_header_names_the_same_one(served: Served) -> None:
    def get(name: str) -> tuple[int, int]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
        }
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tasks/get",
            "params": {"taskId": "d001-2d-f0-none", "_meta": meta},
        }
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tasks/get",
            "Mcp-Name": name,
        }
        answer = httpx2.post(f"{served.url}/mcp", json=message, headers=headers)
        return answer.status_code, answer.json()["error"]["code"]

    assert get("another") == (400, HEADER_MISMATCH)
    assert get("d001-2d-f0-none")[1] == INVALID_PARAMS

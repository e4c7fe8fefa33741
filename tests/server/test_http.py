"""Serving over HTTP: a real server process on the loopback address."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import HEADER_MISMATCH, INVALID_PARAMS

from nnunet_mcp.server.protocol.tasks import EXTENSION
from tests.kit.lab import Lab, call
from tests.kit.served import TOKEN, Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(Lab(tmp_path)) as server:
        yield server


def test_nobody_gets_in_without_the_token(served: Served) -> None:
    assert served.post() == 401
    assert served.post(Authorization="Bearer wrong") == 401
    assert served.post(Authorization=f"Bearer {TOKEN}") == 200


def test_another_host_name_or_origin_is_refused_even_with_the_token(served: Served) -> None:
    bearer = f"Bearer {TOKEN}"
    assert served.post(Authorization=bearer, Host="evil.example") == 421
    assert served.post(Authorization=bearer, Origin="http://evil.example") == 403


def test_an_ipv6_address_is_served(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not _has_loopback_of_ipv6():
        pytest.skip("this machine has no IPv6")
    with serving(Lab(tmp_path), "--host", "::1", host="[::1]") as server:
        assert server.post(Authorization=f"Bearer {TOKEN}") == 200


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

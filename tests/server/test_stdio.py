"""Only JSON-RPC reaches the wire, whatever else prints."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.kit.lab import Answer, Lab, call

# Prints as soon as the server has taken its standard output for the wire, and once more at the very end.
NOISE = """
import atexit, os, threading, time

def noise():
    wire = os.fstat(1)
    while os.path.samestat(wire, os.fstat(1)):
        time.sleep(0.01)
    print("stray while serving", flush=True)

atexit.register(print, "stray at the end")
threading.Thread(target=noise, daemon=True).start()
"""
CARELESS = {"PYTHONWARNINGS": "always", "MPLCONFIGDIR": "/dev/null/nowhere"}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}


def test_stray_prints_never_reach_the_wire(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    (noise / "sitecustomize.py").write_text(NOISE, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "nnunet_mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**Lab(tmp_path / "work").environment, **CARELESS, "PYTHONPATH": str(noise)},
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    messages: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": HELLO},
        {"method": "notifications/initialized"},
    ]
    for message in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
    first = process.stdout.readline()
    while "stray while serving" not in process.stderr.readline():
        assert process.poll() is None
    rest, errors = process.communicate(timeout=20)

    assert [json.loads(line)["jsonrpc"] for line in [first, *rest.splitlines()]] == ["2.0"] * (
        1 + len(rest.splitlines())
    )
    assert "stray at the end" in errors


def answers(lab: Lab, *lines: str) -> list[Answer]:
    """What a server says to these lines after `initialize`; the last must be one that it answers."""
    begin: list[Answer] = [{"id": 0, "method": "initialize", "params": HELLO}, {"method": "notifications/initialized"}]
    sent = [*(json.dumps({"jsonrpc": "2.0", **message}) for message in begin), *lines]
    with subprocess.Popen(
        [sys.executable, "-m", "nnunet_mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=lab.environment,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("".join(f"{line}\n" for line in sent))
        process.stdin.flush()
        found = [json.loads(process.stdout.readline()) for _ in range(len(lines) + 1 - lines.count(""))]
        process.stdin.close()
        assert process.wait(timeout=20) == 0
    return found[1:]


def ping(number: str, given: str = "1") -> str:
    return f'{{"jsonrpc": "2.0", "id": {number}, "method": "ping", "params": {{"x": {given}}}}}'


NO_MESSAGES = {
    "no JSON": ("garbage", -32700),
    "cut off": ('{"jsonrpc": "2.0", ', -32700),
    "long number": (ping("5", "9" * 5000), -32700),
    "long id": (ping("9" * 5000), -32700),
    "half a letter": (ping("5", '"\\ud800"'), -32700),
    "deep": (ping("5", "[" * 3000 + "]" * 3000), -32700),
    "no message": ("[]", -32600),
}


def test_a_line_that_is_no_message_is_answered_and_the_next_is_served(tmp_path: Path) -> None:
    lines = [line for odd, _ in NO_MESSAGES.values() for line in (odd, "", ping("7"))]

    said = answers(Lab(tmp_path / "work"), *lines)

    for (name, (_, code)), refused, served in zip(NO_MESSAGES.items(), said[::2], said[1::2], strict=True):
        assert (refused["id"], refused["error"]["code"]) == (None, code), name
        assert (served["id"], served["result"]) == (7, {}), name


def test_the_name_of_an_unknown_tool_is_told_as_it_can_be_seen(tmp_path: Path) -> None:
    call_it = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "x\u202ey", "arguments": {}}}

    [answer] = answers(Lab(tmp_path / "work"), json.dumps(call_it))

    assert "Unknown tool: x\ufffdy" in json.dumps(answer, ensure_ascii=False)


def asked(lab: Lab, *flags: str) -> tuple[Answer, Answer]:
    """nnunet_system's and nnunet_runs' answers of a server with these flags."""
    command = StdioServerParameters(command=sys.executable, args=["-m", "nnunet_mcp", *flags], env=lab.environment)

    async def once() -> tuple[Answer, Answer]:
        with anyio.fail_after(60):
            async with Client(stdio_client(command)) as client:
                return await call(client, "nnunet_system"), await call(client, "nnunet_runs")

    return anyio.run(once)


def test_a_folder_that_cannot_be_made_is_told_by_nnunet_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lab = Lab(tmp_path / "work", {"nnUNet_results": str(tmp_path / "file" / "results")})

    system, runs = asked(lab)

    assert any("nnUNet_results" in problem and "cannot be written" in problem for problem in system["problems"])
    assert runs["runs"] == []


def test_a_read_only_server_makes_no_folder(tmp_path: Path) -> None:
    assert asked(Lab(tmp_path / "work"), "--read-only")[1]["runs"] == []
    assert not (tmp_path / "work").exists()

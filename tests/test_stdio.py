"""Only JSON-RPC reaches the wire, whatever else prints."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.lab import Answer, Lab, call

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
        env={**Lab(tmp_path / "work").environment, "PYTHONPATH": str(noise)},
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

"""Start-up and memory of the server against a bare server of the SDK, alternating; and how large answers are.

python benchmarks/start_up.py [--rounds 7]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import psutil

from tests.lab import Lab, call

BARE = """
from mcp.server.mcpserver import MCPServer
app = MCPServer("bare")
@app.tool()
def ping() -> str:
    return "pong"
app.run()
"""
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


def start(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from the start of the process to the answer to tools/list, and its memory in MB."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert process.stdin is not None and process.stdout is not None
    messages: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": HELLO},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list", "params": {}},
    ]
    for message in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
    while json.loads(process.stdout.readline()).get("id") != 2:
        continue
    seconds, memory = time.monotonic() - begun, psutil.Process(process.pid).memory_info().rss / 1e6
    process.communicate()
    return seconds, memory


def compare(rounds: int, folder: Path) -> None:
    """Alternate the two servers; print medians and the ratios of the pairs."""
    environment = Lab(folder).environment
    own, bare = [sys.executable, "-m", "nnunet_mcp"], [sys.executable, "-c", BARE]
    pairs = [(start(own, environment), start(bare, environment)) for _ in range(rounds + 1)][1:]
    for index, unit in ((0, "s"), (1, "MB")):
        ours = statistics.median(pair[0][index] for pair in pairs)
        theirs = statistics.median(pair[1][index] for pair in pairs)
        ratios = [pair[0][index] / pair[1][index] for pair in pairs]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(f"{unit}: nnunet-mcp {ours:.2f}, bare {theirs:.2f}, ratio {statistics.median(ratios):.2f} ({spread})")


async def sizes(lab: Lab) -> None:
    """Characters of the tool list and of an answer of each tool that needs no run."""
    async with lab.client() as client:
        tools = (await client.list_tools()).tools
        listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
        print(f"tools/list: {len(json.dumps(listed))} characters, {len(tools)} tools")
        for name in ("nnunet_runs", "nnunet_datasets", "nnunet_system"):
            print(f"{name}: {len(json.dumps(await call(client, name)))} characters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        compare(chosen.rounds, Path(workspace))
        anyio.run(sizes, Lab(Path(workspace)))

"""Start-up and memory of the server against a bare server of the SDK, alternating.

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

import psutil

from tests.kit.lab import Lab

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
    print("| | nnunet-mcp | bare server | ratio | spread |\n|---|---:|---:|---:|---:|")
    for index, what in ((0, "seconds to the tool list"), (1, "memory, MB")):
        ours = statistics.median(pair[0][index] for pair in pairs)
        theirs = statistics.median(pair[1][index] for pair in pairs)
        ratios = [pair[0][index] / pair[1][index] for pair in pairs]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(f"| {what} | {ours:.2f} | {theirs:.2f} | {statistics.median(ratios):.2f} | {spread} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        compare(chosen.rounds, Path(workspace))

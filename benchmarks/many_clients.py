"""What 40 idle servers on one state folder cost, and how many nnunet_runs a second one HTTP server answers.

    PYTHONPATH=. python benchmarks/many_clients.py [--servers 40] [--calls 500]

The state folder holds 1,000 runs. The calls come from 25 clients at once.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import anyio
import httpx2
import psutil
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from benchmarks.latency import write_runs
from nnunet_mcp.settings import Settings
from tests.kit.lab import Lab
from tests.kit.served import TOKEN, Served, serving
from tests.kit.wire import Wire

IDLE_S = 60
CLIENTS = 25
RUNS = 1000


def idle(lab: Lab, servers: int) -> None:
    """Print the memory of the servers and the share of a core that they take together."""
    wires = [Wire(lab.environment) for _ in range(servers)]
    try:
        for wire in wires:
            wire.begin()
            wire.request("tools/list")
            assert not wire.call("nnunet_runs").get("isError")
        processes = [psutil.Process(wire.process.pid) for wire in wires]
        before = sum(sum(process.cpu_times()[:2]) for process in processes)
        time.sleep(IDLE_S)
        spent = sum(sum(process.cpu_times()[:2]) for process in processes) - before
        found = [process.memory_full_info() for process in processes]
    finally:
        for wire in wires:
            wire.end()
    own, fair = (statistics.median(getattr(one, kind) / 1e6 for one in found) for kind in ("uss", "pss"))
    print(f"| {servers} idle servers: memory of each, not shared, median, MB | {own:.0f} |")
    print(f"| the same with its share of what they share (PSS), MB | {fair:.0f} |")
    print(f"| {servers} idle servers: CPU in sum over {IDLE_S} s, % of a core | {100 * spent / IDLE_S:.2f} |")


async def ask_often(server: Served, times: int, taken: list[float]) -> None:
    """Call nnunet_runs over a connection of its own."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=120) as http,
        Client(streamable_http_client(f"{server.url}/mcp", http_client=http)) as client,
    ):
        for _ in range(times):
            begun = time.monotonic()
            assert not (await client.call_tool("nnunet_runs", {})).is_error
            taken.append(time.monotonic() - begun)


async def answered(lab: Lab, calls: int) -> None:
    """Print the rate of answers over HTTP."""
    taken: list[float] = []
    with serving(lab) as server:
        await ask_often(server, 1, taken)
        process = psutil.Process(server.process.pid)
        begun, spent = time.monotonic(), sum(process.cpu_times()[:2])
        async with anyio.create_task_group() as group:
            for _ in range(CLIENTS):
                group.start_soon(ask_often, server, calls // CLIENTS, taken)
        rate = calls / (time.monotonic() - begun)
        spent = sum(process.cpu_times()[:2]) - spent
    print(f"| nnunet_runs over HTTP, {CLIENTS} clients at once: answers a second | {rate:.0f} |")
    print(f"| the same: longest answer, s | {max(taken):.2f} |")
    print(f"| the same: the server's CPU time for an answer, ms | {1000 * spent / calls:.1f} |")


def main(servers: int, calls: int, folder: Path) -> None:
    """Make the runs and measure."""
    lab = Lab(folder)
    names = ("raw", "preprocessed", "results")
    settings = Settings.model_validate({name: lab.environment[f"nnUNet_{name}"] for name in names})
    settings.create_folders()
    write_runs(settings, 0, RUNS)
    print("| | |\n|---|---:|")
    if servers:
        idle(lab, servers)
    anyio.run(answered, lab, calls)
    print(f"\nThe clients ran on the same {os.cpu_count()} cores. Load of the last minute: {os.getloadavg()[0]:.0f}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=40)
    parser.add_argument("--calls", type=int, default=500)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        main(chosen.servers, chosen.calls, Path(workspace))

"""How soon a server answers `initialize` while trainings use every core, by the niceness of those.

    PYTHONPATH=. python benchmarks/under_load.py [--rounds 5] [--busy 4]

The trainings are played by busy loops in sessions of their own, as stages are; their priority is lowered as that of
stages is.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nnunet_mcp.runs.processes import let_others_first
from nnunet_mcp.settings import Settings
from tests.kit.lab import Lab
from tests.kit.wire import INITIALIZE, Wire

BUSY = "while True: pass"


def initialize(folder: Path, busy: int, niceness: int) -> float:
    """Seconds from the start of a server to its answer, beside so many busy processes."""
    command = [sys.executable, "-c", BUSY]
    load = [subprocess.Popen(command, start_new_session=True) for _ in range(busy)]
    for process in load:
        let_others_first(process.pid, niceness)
    try:
        begun = time.monotonic()
        wire = Wire(Lab(folder).environment)
        wire.request("initialize", INITIALIZE)
        seconds = time.monotonic() - begun
        wire.end()
        return seconds
    finally:
        for process in load:
            process.kill()
            process.wait()


def main(rounds: int, busy: int, folder: Path) -> None:
    """Print a table; the kinds of load alternate."""
    usual = Settings.model_fields["nice"].default
    kinds = [("nothing beside it", 0, 0), (f"{busy} busy processes", busy, 0)]
    kinds.append((f"{busy} busy processes at niceness {usual}", busy, usual))
    found: dict[str, list[float]] = {title: [] for title, _, _ in kinds}
    for _ in range(rounds):
        for title, count, niceness in kinds:
            found[title].append(initialize(folder, count, niceness))
    print("| load | median, s | longest, s |\n|---|---:|---:|")
    for title, seconds in found.items():
        print(f"| {title} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=4)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        main(chosen.rounds, chosen.busy, Path(workspace))

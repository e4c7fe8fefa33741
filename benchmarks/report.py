"""Every benchmark, one after the other, as a report: `make benchmarks SOURCE=<MSD task>` writes docs/benchmarks.md.

Takes about two and a half hours on two cores; nothing else should run beside it.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil

HERE = Path(__file__).parent
HEAD = """# Benchmarks

Measured on {date} with `make benchmarks`: {machine}. Ratios compare what ran alternating in one session; single times
depend on the machine.
"""


def machine() -> str:
    """The class of the machine, not its name."""
    memory = psutil.virtual_memory().total / 1024**3
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, no GPU, {platform.system()}"


def told(script: str, *arguments: str) -> str:
    """What a benchmark prints on standard output."""
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def section(title: str, script: str, *arguments: str) -> str:
    """One benchmark: its own docstring's first line, and what it printed."""
    print(title, flush=True)
    summary = (HERE / script).read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
    return f"\n## {title}\n\n{summary} (`benchmarks/{script}`)\n\n{told(script, *arguments).strip()}\n"


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a Medical Segmentation Decathlon task, e.g. Task04_Hippocampus")
    parser.add_argument("target", type=Path, help="the report, e.g. docs/benchmarks.md")
    options = parser.parse_args()
    source = ("--source", str(options.source.resolve()))
    text = HEAD.format(date=datetime.date.today().isoformat(), machine=machine())
    text += section("Start and memory", "start_up.py")
    text += section("Looking at many runs", "latency.py")
    text += section("Characters that a model reads", "characters.py")
    text += section("Folds on several GPUs", "gpus.py")
    text += section("A step", "steps.py", *source)
    text += section("A training, 2d", "epochs.py", *source, "--configuration", "2d", "--rounds", "3")
    text += section("A training, 3d_fullres", "epochs.py", *source)
    few = (*source, "--cases", "10")
    text += section("One fold, from the data to the result", "against_commands.py", *few, "--rounds", "2")
    text += section("Five folds", "against_commands.py", *few, "--folds", "all")
    options.target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

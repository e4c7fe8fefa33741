"""Every benchmark, one after the other, as a report: `make benchmarks` writes docs/benchmarks.md.

Takes about four hours on two cores; nothing else should run beside it. With titles of sections only these are measured
anew: `make benchmarks ONLY="'A step' 'Five folds'"`.
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

By `make benchmarks`, on {machine}. Ratios compare what ran alternating in one session; single times depend
on the machine.
"""
HEADING = "\n## "


def sections(source: Path) -> dict[str, list[str]]:
    """The script and its arguments of each section."""
    data = ["--source", str(source.resolve())]
    few = [*data, "--cases", "10"]
    short = [*data, "--trainer", "QuarterEpochsTrainer", "--rounds", "1"]
    return {
        "Start and memory": ["start_up.py"],
        "Start beside trainings": ["under_load.py"],
        "Looking at many runs": ["latency.py"],
        "Looking into a dataset": ["looking.py"],
        "Many clients": ["many_clients.py"],
        "Characters that a model reads": ["characters.py"],
        "ETA": ["eta.py"],
        "Folds on several GPUs": ["gpus.py"],
        "A step": ["steps.py", *data],
        "A prediction, 2d": ["predicting.py", *data, "--configuration", "2d"],
        "A prediction, 3d_fullres": ["predicting.py", *data],
        "A training, 2d": ["epochs.py", *data, "--configuration", "2d"],
        "A training, 3d_fullres": ["epochs.py", *data, "--configuration", "3d_fullres"],
        "A short training, 2d": ["epochs.py", *short, "--configuration", "2d"],
        "One fold, from the data to the result": ["against_commands.py", *few, "--rounds", "2"],
        "Five folds": ["against_commands.py", *few, "--folds", "all"],
        "Postprocessing of the best configuration": ["postprocessing.py", *data],
        "Uncertain cases": ["uncertain.py", *data],
    }


def machine() -> str:
    """The class of the machine, not its name."""
    memory = psutil.virtual_memory().total / 1024**3
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, no GPU, {platform.system()}"


def measured(script: str, *arguments: str) -> str:
    """A section's text: the benchmark's first docstring line, the day, and what it printed."""
    summary = (HERE / script).read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
    command = [sys.executable, str(HERE / script), *arguments]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return f"{summary} (`benchmarks/{script}`, {datetime.date.today().isoformat()})\n\n{told.strip()}\n"


def read_report(path: Path) -> dict[str, str]:
    """The sections of an earlier report."""
    parts = path.read_text(encoding="utf-8").split(HEADING)[1:] if path.is_file() else []
    return {title: text.strip() + "\n" for title, _, text in (part.partition("\n") for part in parts)}


def main() -> None:
    """Measure the sections that are asked for; the others stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a Medical Segmentation Decathlon task, e.g. Task04_Hippocampus")
    parser.add_argument("target", type=Path, help="the report, e.g. docs/benchmarks.md")
    parser.add_argument("only", nargs="*", metavar="TITLE", help="sections to measure; all if none is named")
    options = parser.parse_args()
    every, report = sections(options.source), read_report(options.target)
    if unknown := [title for title in options.only if title not in every]:
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(every)}")
    for title in options.only or every:
        print(title, flush=True)
        report[title] = measured(*every[title])
        texts = (f"{HEADING}{title}\n\n{report[title]}" for title in every if title in report)
        options.target.write_text(HEAD.format(machine=machine()) + "".join(texts), encoding="utf-8")


if __name__ == "__main__":
    main()

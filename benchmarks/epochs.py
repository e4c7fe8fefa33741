"""A fold's training on this machine's CPU: nnU-Net's command as it comes, nnunet-mcp, and nnunet-mcp with bf16.

    PYTHONPATH=. python benchmarks/epochs.py --source <MSD task> [--configuration 3d_fullres] [--rounds 2]

The same fold of the same data with the same trainer, alternating, preprocessed once. An epoch's time is nnU-Net's own,
from its training log, without the first epoch; so is the validation's Dice. The whole is from the call to the validated
model. Nothing is seeded: each training has weights and augmentation of its own, and the Dice has the spread of that.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_mcp.nnunet.summary import Summary
from nnunet_mcp.runs.machine.processor import computes_bfloat16
from tests.kit.lab import Lab, msd_subset

TRAINERS = {
    "EpochsTrainer": "10 epochs of 80 iterations",
    "QuarterEpochsTrainer": "10 epochs of 20 iterations: too few for the Dice to mean anything",
}
THEIRS, OURS, OURS_MIXED = "nnU-Net's command", "nnunet-mcp", "nnunet-mcp, bf16"
EPOCH_TIME = re.compile(r"Epoch time: ([\d.]+) s")
COMMAND = Path(sys.executable).with_name("nnUNetv2_train")


class Measured(NamedTuple):
    """Of one training: the median seconds of an epoch after the first, the seconds of all of it, and its Dice."""

    epoch: float
    whole: float
    dice: float


def command(lab: Lab, configuration: str, trainer: str) -> Measured:
    """Train fold 0 with nnU-Net's command."""
    fold = fold_folder(lab, configuration, trainer)
    shutil.rmtree(fold, ignore_errors=True)
    arguments = [str(COMMAND), "4", configuration, "0", "-tr", trainer, "-device", "cpu"]
    began = time.perf_counter()
    subprocess.run(arguments, env=lab.environment, check=True, stdout=subprocess.DEVNULL)
    return measured(fold, time.perf_counter() - began)


def ours(lab: Lab, configuration: str, trainer: str, *, bf16: bool) -> Measured:
    """Train fold 0 through the server."""
    fold = fold_folder(lab, configuration, trainer)
    shutil.rmtree(fold, ignore_errors=True)
    began = time.perf_counter()
    asked: dict[str, Any] = {"dataset_id": 4, "configuration": configuration, "fold": "0", "trainer": trainer}
    result = lab.train(timeout_s=3600, **asked, device="cpu", bf16=bf16)
    whole = time.perf_counter() - began
    if result["status"] != "success":
        raise SystemExit(f"the run failed: {result['failure']}")
    return measured(fold, whole)


def fold_folder(lab: Lab, configuration: str, trainer: str) -> Path:
    return lab.folder / "results" / "Dataset004_Benchmark" / f"{trainer}__nnUNetPlans__{configuration}" / "fold_0"


def measured(fold: Path, whole: float) -> Measured:
    """What nnU-Net itself wrote of the training that is in this folder."""
    log = max(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime).read_text(encoding="utf-8")
    seconds = [float(text) for text in EPOCH_TIME.findall(log)][1:]
    summary = Summary(fold / "validation" / "summary.json", {})
    return Measured(statistics.median(seconds), whole, summary.metrics(None).dice or 0.0)


def prepare(folder: Path, source: Path, cases: int, configuration: str) -> Lab:
    """A workspace with the data preprocessed, by a training that is not measured."""
    lab = Lab(folder / "work", {"NNUNET_MCP_ALLOWED_DIRS": str(folder)})
    subset = msd_subset(source, folder / "Task04_Subset", cases)
    lab.call("nnunet_prepare_dataset", source=str(subset), dataset_id=4, name="Benchmark")
    lab.train(dataset_id=4, configuration=configuration, fold="0", device="cpu", trainer="OneStepTrainer")
    return lab


def alternate(ways: dict[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Each way once in each round, a line of the table as soon as one is there."""
    print("| round | way | s per epoch | s in all | Dice |\n|---:|---|---:|---:|---:|")
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        for name, way in ways.items():
            one = way()
            found[name].append(one)
            print(f"| {number} | {name} | {one.epoch:.2f} | {one.whole:.0f} | {one.dice:.3f} |", flush=True)
    return found


def compare(found: dict[str, list[Measured]]) -> None:
    """The ratio of each round, and the Dice of each way."""
    print()
    for name, trainings in found.items():
        if name != THEIRS:
            epoch, whole = (ratios(trainings, found[THEIRS], field) for field in ("epoch", "whole"))
            print(f"- {name} against {THEIRS}: an epoch {epoch}; all of it {whole}")
    for name, trainings in found.items():
        dice = [one.dice for one in trainings]
        print(f"- Dice of {name}: mean {statistics.mean(dice):.3f}, from {min(dice):.3f} to {max(dice):.3f}")


def ratios(ours: list[Measured], theirs: list[Measured], field: str) -> str:
    pairs = zip(ours, theirs, strict=True)
    return ", ".join(f"{getattr(one, field) / getattr(other, field):.2f}" for one, other in pairs)


def main() -> None:
    """Alternate them and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--trainer", choices=TRAINERS, default="EpochsTrainer")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = prepare(Path(folder), options.source, options.cases, options.configuration)
        same = (options.configuration, options.trainer)
        ways: dict[str, Callable[[], Measured]] = {
            THEIRS: lambda: command(lab, *same),
            OURS: lambda: ours(lab, *same, bf16=False),
        }
        if computes_bfloat16():
            ways[OURS_MIXED] = lambda: ours(lab, *same, bf16=True)
        print(f"{options.configuration}, {options.cases} cases, {TRAINERS[options.trainer]}\n")
        compare(alternate(ways, options.rounds))


if __name__ == "__main__":
    main()

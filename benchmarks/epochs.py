"""The time of an epoch on this machine's CPU: nnU-Net's command as it comes, with our settings, and nnunet-mcp.

    PYTHONPATH=. python benchmarks/epochs.py --source <MSD task> [--configuration 3d_fullres] [--rounds 2]

The same fold of the same data with the same trainer, alternating, preprocessed once. The times are nnU-Net's own, from
its training log, without the first epoch; so is the validation's Dice. The first ratio is what users gain, the second
what our hooks cost.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from nnunet_mcp.runs.summary import Summary
from nnunet_mcp.worker.resources import GIB, fit_to_machine
from tests.lab import Lab, msd_subset

TRAINER = "EpochsTrainer"
EPOCH_TIME = re.compile(r"Epoch time: ([\d.]+) s")
# What a stage's process asks of malloc, as the variables that an nnU-Net command can be given.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(GIB), "MALLOC_TRIM_THRESHOLD_": str(1024 * GIB)}
COMMAND = Path(sys.executable).with_name("nnUNetv2_train")
Measured = tuple[float, float]


def command(lab: Lab, configuration: str, extra: dict[str, str]) -> Measured:
    """Train fold 0 with nnU-Net's command."""
    fold = fold_folder(lab, configuration)
    shutil.rmtree(fold, ignore_errors=True)
    arguments = [str(COMMAND), "4", configuration, "0", "-tr", TRAINER, "-device", "cpu"]
    subprocess.run(arguments, env={**lab.environment, **extra}, check=True, stdout=subprocess.DEVNULL)
    return measured(fold)


def ours(lab: Lab, configuration: str) -> Measured:
    """Train fold 0 through the server."""
    fold = fold_folder(lab, configuration)
    shutil.rmtree(fold, ignore_errors=True)
    result = lab.train(dataset_id=4, configuration=configuration, fold="0", device="cpu", trainer=TRAINER)
    if result["status"] != "success":
        raise SystemExit(f"the run failed: {result['failure']}")
    return measured(fold)


def fold_folder(lab: Lab, configuration: str) -> Path:
    return lab.folder / "results" / "Dataset004_Benchmark" / f"{TRAINER}__nnUNetPlans__{configuration}" / "fold_0"


def measured(fold: Path) -> Measured:
    """Median seconds of an epoch after the first, and the validation's Dice."""
    log = max(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime).read_text(encoding="utf-8")
    seconds = [float(text) for text in EPOCH_TIME.findall(log)][1:]
    summary = Summary(fold / "validation" / "summary.json", {})
    return statistics.median(seconds), summary.metrics(None).dice or 0.0


def prepare(folder: Path, source: Path, cases: int, configuration: str) -> Lab:
    """A workspace with the data preprocessed, by a training that is not measured."""
    lab = Lab(folder / "work", {"NNUNET_MCP_ALLOWED_DIRS": str(folder)})
    subset = msd_subset(source, folder / "Task04_Subset", cases)
    lab.call("nnunet_prepare_dataset", source=str(subset), dataset_id=4, name="Benchmark")
    lab.train(dataset_id=4, configuration=configuration, fold="0", device="cpu", trainer="OneStepTrainer")
    return lab


def main() -> None:
    """Alternate the three and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = prepare(Path(folder), options.source, options.cases, options.configuration)
        settings = fit_to_machine("train", "cpu", {}) | KEEP_FREED_MEMORY
        ways: dict[str, Callable[[], Measured]] = {
            "nnU-Net's command": lambda: command(lab, options.configuration, {}),
            "its command with our settings": lambda: command(lab, options.configuration, settings),
            "nnunet-mcp": lambda: ours(lab, options.configuration),
        }
        chosen = ", ".join(f"{name}={value}" for name, value in settings.items())
        print(f"{options.configuration}, {options.cases} cases, settings {chosen}\n")
        print("| round | way | s per epoch | Dice |\n|---|---|---|---|")
        gained, cost = [], []
        for number in range(1, options.rounds + 1):
            found = {name: way() for name, way in ways.items()}
            for name, (seconds, dice) in found.items():
                print(f"| {number} | {name} | {seconds:.2f} | {dice:.3f} |", flush=True)
            theirs, tuned, own = (seconds for seconds, _ in found.values())
            gained.append(f"{own / theirs:.2f}")
            cost.append(f"{own / tuned:.2f}")
        print("\nNothing is seeded, so the Dice after so few iterations varies from training to training. That")
        print("these settings change no bit of a loss is shown by tests/test_worker_job.py.")
        print(f"\nnnunet-mcp against nnU-Net's command: {', '.join(gained)}; with the same settings: {', '.join(cost)}")


if __name__ == "__main__":
    main()

"""One fold and five folds through nnunet-mcp against nnU-Net's own commands, alternating, on the same data.

    python benchmarks/against_commands.py --source <MSD task> --cases 20 --rounds 1 [--folds all]

Both sides verify, plan, preprocess and train the same folds with the same trainer on the CPU. nnU-Net's commands
run with their defaults. Prints wall times and their ratio for each round.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.kit.lab import Lab, msd_subset

BIN = Path(sys.executable).parent
DATASET = "4"


def ours(lab: Lab, configuration: str, fold: str, trainer: str) -> float:
    """Seconds from the tool call to the result."""
    begun = time.monotonic()
    result = lab.train(
        dataset_id=4, configuration=configuration, fold=fold, device="cpu", trainer=trainer, timeout_s=7200
    )
    if result["status"] != "success":
        raise SystemExit(f"the run failed: {result['failure']}")
    return time.monotonic() - begun


def theirs(lab: Lab, configuration: str, fold: str, trainer: str) -> float:
    """Seconds that plan_and_preprocess and the train commands take."""
    begun = time.monotonic()
    _command(lab, "nnUNetv2_plan_and_preprocess", "-d", DATASET, "--verify_dataset_integrity")
    for number in range(5) if fold == "all" else (int(fold),):
        _command(lab, "nnUNetv2_train", DATASET, configuration, str(number), "-tr", trainer, "-device", "cpu")
    if fold == "all":
        options = ("-tr", trainer)
        _command(lab, "nnUNetv2_accumulate_crossval_results", DATASET, "-c", configuration, *options)
    return time.monotonic() - begun


def _command(lab: Lab, name: str, *arguments: str) -> None:
    environment = {key: value for key, value in lab.environment.items() if not key.startswith("NNUNET_MCP")}
    subprocess.run([str(BIN / name), *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)


def prepared(folder: Path, source: Path) -> Lab:
    """A workspace with the dataset imported and nothing else."""
    lab = Lab(folder, {"NNUNET_MCP_ALLOWED_DIRS": str(source)})
    lab.call("nnunet_prepare_dataset", source=str(source), dataset_id=4, name="Benchmark")
    return lab


def main() -> None:
    """Alternate the two sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--trainer", default="ShortTrainer")
    parser.add_argument("--folds", default="0", help="0-4 or all")
    options = parser.parse_args()
    print(f"{options.configuration}, fold {options.folds}, {options.cases} cases, {options.trainer}\n")
    print("| round | nnunet-mcp, s | nnU-Net's commands, s | ratio |\n|---:|---:|---:|---:|")
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            source = msd_subset(options.source, Path(folder) / "Task04_Subset", options.cases)
            a = ours(prepared(Path(folder) / "a", source), options.configuration, options.folds, options.trainer)
            b = theirs(prepared(Path(folder) / "b", source), options.configuration, options.folds, options.trainer)
            print(f"| {number + 1} | {a:.1f} | {b:.1f} | {a / b:.2f} |", flush=True)


if __name__ == "__main__":
    main()

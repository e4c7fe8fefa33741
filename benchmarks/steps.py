"""How near a training step comes to what this machine's cores can do, in float32 and in mixed precision (bf16).

    PYTHONPATH=. python benchmarks/steps.py --source <MSD task>

Network and batch size are those that nnU-Net plans for the data; PyTorch counts the operations of a step. The yardstick
is a product of two float32 matrices on the same cores, measured right before.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from benchmarks.epochs import prepare
from nnunet_mcp.runs.processor import computes_bfloat16
from nnunet_mcp.schemas.estimates import EstimateJob
from nnunet_mcp.worker.estimate import build_trainer, made_up_batch
from nnunet_mcp.worker.precision import in_bfloat16
from nnunet_mcp.worker.resources import fit_this_process, fit_to_machine
from tests.lab import Lab

CONFIGURATIONS = ("2d", "3d_fullres")
SIZE = 2048
REPEATS = 7
GIGA = 1e9


def seconds(act: Callable[[], object]) -> float:
    """The median of a few, after one that warms up."""
    act()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def matrix_product() -> float:
    """GFLOP/s of a product of two float32 matrices."""
    import torch

    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    return 2 * SIZE**3 / seconds(lambda: one @ other) / GIGA


def measure(lab: Lab, configuration: str) -> None:
    """A line of the table for each precision."""
    from torch.utils.flop_counter import FlopCounterMode

    folder = lab.folder / "preprocessed" / "Dataset004_Benchmark"
    job = EstimateJob(
        plans_file=str(folder / "nnUNetPlans.json"),
        dataset_json=str(folder / "dataset.json"),
        configuration=configuration,
        trainer="nnUNetTrainer",
        device="cpu",
    )
    with redirect_stdout(sys.stderr):  # nnU-Net introduces itself
        trainer = build_trainer(job)
        trainer.initialize()
    batch = made_up_batch(trainer)
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(batch)
    work = counter.get_total_flops() / GIGA
    for precision in ("float32", "bf16") if computes_bfloat16() else ("float32",):
        yardstick = matrix_product()
        with in_bfloat16(trainer.network) if precision == "bf16" else nullcontext():
            step = seconds(lambda: trainer.train_step(batch))
        share = work / step / yardstick
        print(
            f"| {configuration} | {precision} | {step:.2f} | {work / step:.0f} | {yardstick:.0f} | {share:.2f} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=20)
    options = parser.parse_args()
    os.environ.update(fit_to_machine("train", "cpu", dict(os.environ)))
    fit_this_process("cpu")
    print("| configuration | precision | s per step | GFLOP/s | of a matrix product, GFLOP/s | ratio |")
    print("|---|---|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for configuration in CONFIGURATIONS:
            lab = prepare(Path(folder) / configuration, options.source, options.cases, configuration)
            os.environ.update({name: value for name, value in lab.environment.items() if name.startswith("nnUNet_")})
            measure(lab, configuration)


if __name__ == "__main__":
    main()

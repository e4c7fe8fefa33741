"""A training step: how near it comes to what this machine's cores can do, and what our hooks add to it.

    PYTHONPATH=. python benchmarks/steps.py --source <MSD task>

Network and batch size are those that nnU-Net plans for the data; PyTorch counts the operations of a step. The yardstick
is a product of two float32 matrices on the same cores, measured right before. With and without hooks alternate.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from benchmarks.epochs import prepare
from nnunet_mcp.runs.machine.processor import computes_bfloat16
from nnunet_mcp.schemas.preflight import EstimateJob
from nnunet_mcp.worker.asks.estimate import build_trainer, made_up_batch
from nnunet_mcp.worker.resources import fit_this_process, fit_to_machine
from nnunet_mcp.worker.stage import Job
from nnunet_mcp.worker.training.hooks import TrainerHooks
from nnunet_mcp.worker.training.precision import precision_of
from tests.kit.lab import Lab

CONFIGURATIONS = ("2d", "3d_fullres")
SIZE = 2048
REPEATS = 15
GIGA = 1e9


def seconds(*acts: Callable[[], object]) -> list[float]:
    """The median of each, done in turn, after one turn that warms up."""
    found: list[list[float]] = [[] for _ in acts]
    for turn in range(REPEATS + 1):
        for times, act in zip(found, acts, strict=True):
            began = time.perf_counter()
            act()
            if turn:
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in found]


def matrix_product() -> float:
    """GFLOP/s of a product of two float32 matrices."""
    import torch

    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    return 2 * SIZE**3 / seconds(lambda: one @ other)[0] / GIGA


def trainer_and_job(lab: Lab, configuration: str) -> tuple[Any, Job]:
    """nnU-Net's trainer for the planned network, and the stage that prepared the data, for the hooks to report to."""
    folder = lab.folder / "preprocessed" / "Dataset004_Benchmark"
    run = lab.run_dir(lab.call("nnunet_runs", limit=1)["runs"][0]["run_id"])
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
    return trainer, Job.of(str(run), "train_fold_0")


def measure(lab: Lab, configuration: str) -> None:
    """A line of the table for each precision."""
    from torch.utils.flop_counter import FlopCounterMode

    trainer, job = trainer_and_job(lab, configuration)
    batch, bare = made_up_batch(trainer), trainer.train_step
    with FlopCounterMode(display=False) as counter:
        bare(batch)
    work = counter.get_total_flops() / GIGA
    TrainerHooks(trainer, job).attach()
    for precision in ("float32", "bf16") if computes_bfloat16() else ("float32",):
        yardstick = matrix_product()
        with precision_of(trainer.network, bf16=precision == "bf16"):
            step, hooked = seconds(lambda: bare(batch), lambda: trainer.train_step(batch))
        speed = f"{work / step:.0f} | {yardstick:.0f} | {work / step / yardstick:.2f}"
        print(f"| {configuration} | {precision} | {step:.3f} | {speed} | {hooked / step:.3f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=20)
    options = parser.parse_args()
    os.environ.update(fit_to_machine("train", "cpu", dict(os.environ)))
    fit_this_process("cpu")
    print("| configuration | precision | s | GFLOP/s | a matrix product's GFLOP/s | ratio | with our hooks, ratio |")
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for configuration in CONFIGURATIONS:
            lab = prepare(Path(folder) / configuration, options.source, options.cases, configuration)
            os.environ.update({name: value for name, value in lab.environment.items() if name.startswith("nnUNet_")})
            measure(lab, configuration)


if __name__ == "__main__":
    main()

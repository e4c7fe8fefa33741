"""How long nnunet_progress, nnunet_runs and nnunet_logs take on a full disk of runs, through an MCP client in memory.

    python benchmarks/latency.py

1,000 runs with one of 10,000 epochs for nnunet_progress; 10,000 runs for nnunet_runs; a 1 GiB log for nnunet_logs.
"""

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
from mcp import Client

from nnunet_mcp.files import USUAL_LINE_BYTES, write_model
from nnunet_mcp.liveness import host_name
from nnunet_mcp.runs.layout import REMEMBERED_EPOCHS, StateDir
from nnunet_mcp.schemas.jobs import TrainingJob
from nnunet_mcp.schemas.records import Epoch, Outcome, RunRecord, StageSpec, StageState
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings

GIB = 1024**3
EPOCHS_READ = REMEMBERED_EPOCHS * USUAL_LINE_BYTES
TITLES = {
    "nnunet_progress": "1,000 runs, 10,000 epochs",
    "nnunet_runs": "10,000 runs",
    "nnunet_logs": "end of a log of 1 GiB",
}


def write_runs(settings: Settings, first: int, last: int) -> None:
    """Finished runs, as files."""
    state = StateDir(settings.state_dir)
    specs = (
        StageSpec(name="preprocess", kind="preprocess", configuration="2d"),
        StageSpec(name="train_fold_0", kind="train", configuration="2d", fold="0", needs=("preprocess",)),
    )
    request = TrainingRequest(dataset_id=4, configuration="2d", fold="0")
    job = TrainingJob(request=request, trainer="nnUNetTrainer", plans_identifier="nnUNetPlans")
    for number in range(first, last):
        record = RunRecord(
            run_id=f"d004-2d-f0-{number:05d}",
            created_at=time.time(),
            job=job,
            dataset_name="Dataset004_Bench",
            device="cpu",
            folders=settings.folders,
            stages=specs,
            host=host_name(),
        )
        run = state.run(record.run_id)
        for spec in specs:
            run.stage(spec.name).path.mkdir(parents=True)
            write_model(run.stage(spec.name).state_file, StageState(status="success"), durable=False)
            write_model(run.stage(spec.name).outcome_file, Outcome(ok=True), durable=False)
        write_model(run.run_file, record, durable=False)


def write_epochs(settings: Settings, run_id: str, count: int) -> None:
    """A long history."""
    path = StateDir(settings.state_dir).run(run_id).stage("train_fold_0").epochs_file
    values: dict[str, Any] = dict.fromkeys(
        ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"), 0.123456
    )
    lines = [Epoch(epoch=n, seconds=100.0, pseudo_dice_per_class=(0.1, 0.2), **values) for n in range(count)]
    path.write_text("".join(line.model_dump_json() + "\n" for line in lines), encoding="utf-8")


Cost = tuple[float, float]


@contextmanager
def timed(costs: list[Cost]) -> Iterator[None]:
    """Note the time of a block, and the CPU time of this process in it, in milliseconds."""
    begun, spent = time.perf_counter(), time.process_time()
    yield
    costs.append((1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - spent)))


def cells(costs: list[Cost]) -> str:
    """Median and 99th percentile of both times, as cells of a table."""
    quantiles = (
        f"{statistics.median(found):.1f} | {sorted(found)[int(0.99 * len(found))]:.1f}"
        for found in zip(*costs, strict=True)
    )
    return " | ".join(quantiles) + " |"


async def measure(client: Client, tool: str, arguments: dict[str, Any], times: int, read: Path | None = None) -> None:
    """Print the row of a tool, and of reading the files in `read` in turn with it."""
    calls: list[Cost] = []
    reads: list[Cost] = []
    for _ in range(times):
        with timed(calls):
            result = await client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        if read is not None:
            with timed(reads):
                await anyio.to_thread.run_sync(read_ends, read)
    print(f"| {tool}, {TITLES[tool]} | {cells(calls)}")
    if read is not None:
        print(f"| reading the ends of the run's files in turn with it | {cells(reads)}")


def read_ends(folder: Path) -> None:
    """Read the end of every file, as much as nnunet_progress reads of the epochs."""
    for path in folder.rglob("*.json*"):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - EPOCHS_READ))
            stream.read()


async def main(folder: Path) -> None:
    """Make the runs and measure."""
    names = ("raw", "preprocessed", "results")
    settings = Settings.model_validate({name: folder / name for name in names})
    settings.create_folders()
    write_runs(settings, 0, 1000)
    run_id = "d004-2d-f0-00500"
    write_epochs(settings, run_id, 10_000)
    run = StateDir(settings.state_dir).run(run_id)
    asked = {"run_id": run_id}
    gc.freeze()  # as the server does
    async with Client(create_server(settings)) as client:
        await client.call_tool("nnunet_progress", asked)  # its imports
        print("| call | median, ms | p99, ms | CPU, median, ms | CPU, p99, ms |\n|---|---:|---:|---:|---:|")
        await measure(client, "nnunet_progress", asked, 500, read=run.path)
        write_runs(settings, 1000, 10_000)
        await measure(client, "nnunet_runs", {}, 100)
        log = run.stage("train_fold_0").log_file
        line = b"2026-01-01 00:00:00.000000: train_loss -0.8123\n" * 20000
        with log.open("wb") as stream:
            while stream.tell() < GIB:
                stream.write(line)
        before = psutil.Process().memory_info().rss
        await measure(client, "nnunet_logs", {**asked, "mode": "tail"}, 30)
        grown = (psutil.Process().memory_info().rss - before) / 1e6
    print(
        f"\nMemory grew by {grown:.1f} MB with the end of that log. Load of the last minute: {os.getloadavg()[0]:.0f}."
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as workspace:
        anyio.run(main, Path(workspace))

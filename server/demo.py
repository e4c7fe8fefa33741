"""The demonstration: a script does what an agent does, with a real server, a real client and a real training."""

import json
import os
import shlex
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ..launch import python_command
from .phantom import write_phantom

DATASET_ID = 1
SHORT = ["epochs=5", "iterations=10", "val_iterations=3"]  # a minute or two on two cores, and enough for the phantom
ACTIVE = ("queued", "running")
Answer = dict[str, Any]


class DemoFailed(Exception):
    """A tool call was refused, or the training did not succeed."""


def run_demo(workspace: Path) -> int:
    """Train on a phantom in a new folder of the workspace; returns the process's exit code."""
    console = Console()
    workspace.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=workspace.resolve()))
    code = 0
    try:
        with _stopped_by_sigterm_too():
            anyio.run(_demonstrate, folder, console)
    except* DemoFailed as failures:
        console.print(f"[red]{failures.exceptions[0]}")
        code = 1
    except* KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        code = 130
    return code


@contextmanager
def _stopped_by_sigterm_too() -> Iterator[None]:
    """Make SIGTERM end the demonstration as Ctrl-C does: the event loop cancels the task, which cancels the run."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _demonstrate(folder: Path, console: Console) -> None:
    source = folder / "Task01_Phantom"
    write_phantom(source)
    console.print(f"Phantom dataset: {source}")
    async with Client(stdio_client(_server(folder))) as client:
        try:
            run_id = await _train(client, source, console)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _stop_runs(client)
            raise
    _say_what_next(folder, run_id, console)


async def _train(client: Client, source: Path, console: Console) -> str:
    name = "Phantom"
    imported = await _call(client, "nnunet_prepare_dataset", source=str(source), dataset_id=DATASET_ID, name=name)
    console.print(f"Imported: {imported['dataset_name']}, {imported['cases']} cases")
    request = {"dataset_id": DATASET_ID, "configuration": "3d_fullres", "fold": "0", "changes": SHORT}
    run = await _call(client, "nnunet_training", **request)
    console.print(f"Started: run {run['run_id']}, stages {', '.join(stage['name'] for stage in run['stages'])}")
    await _follow(client, run["run_id"], console)
    await _show_result(client, run["run_id"], console)
    return str(run["run_id"])


def _say_what_next(folder: Path, run_id: str, console: Console) -> None:
    """Lines to paste: the same folders for the terminal, and what to do with the model there."""
    exports = " ".join(f"{name}={shlex.quote(path)}" for name, path in _folders(folder).items())
    installed = Path(sys.executable).with_name("nnunet-mcp")
    program = shlex.join([str(installed)] if installed.exists() else python_command(sys.executable, "nnunet_mcp"))
    lines = ("runs", f"plot {run_id} --kind overlay --output worst.png", f"predict {run_id} imagesTr", "dashboard")
    console.print(
        "To go on with it at the terminal:", f"unset NNUNET_MCP_HOME; export {exports}", sep="\n", soft_wrap=True
    )
    for line in lines:
        console.print(f"{program} {line}", soft_wrap=True, highlight=False)


def _folders(folder: Path) -> dict[str, str]:
    return {f"nnUNet_{name}": str(folder / f"nnUNet_{name}") for name in ("raw", "preprocessed", "results")}


def _server(folder: Path) -> StdioServerParameters:
    """The real server on folders of the demonstration's own."""
    environment = {
        **os.environ,
        **_folders(folder),
        "NNUNET_MCP_ALLOWED_DIRS": str(folder),
    }
    environment.pop("NNUNET_MCP_HOME", None)
    python, *words = python_command(sys.executable, "nnunet_mcp")
    return StdioServerParameters(command=python, args=words, env=environment)


async def _call(client: Client, tool: str, **arguments: Any) -> Answer:
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        text = " ".join(getattr(block, "text", "") for block in result.content)
        raise DemoFailed(f"{tool}: {text}")
    return defaultdict(lambda: None, result.structured_content)  # what says nothing is left out


async def _follow(client: Client, run_id: str, console: Console) -> None:
    """Show the run's progress until it ends: bars on a terminal, otherwise a line for each change."""
    columns = (TextColumn("{task.description:32}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TextColumn("{task.fields[detail]}"), console=console, disable=not console.is_terminal
    ) as bars:
        whole = bars.add_task("run", total=100, detail="")
        epochs = bars.add_task("epochs", total=None, detail="")
        said = ""
        while True:
            now = await _call(client, "nnunet_progress", run_id=run_id, wait_s=5)
            bars.update(whole, completed=now["percent"], description=_stage(now), detail=_eta(now))
            bars.update(epochs, completed=now["epoch"] or 0, total=now["epochs"], detail=_numbers(now))
            line = f"{now['percent']:5.1f} %  {_stage(now):44} {_numbers(now)}"
            if not console.is_terminal and line != said:
                console.print(line, soft_wrap=True)
                said = line
            if now["status"] not in ACTIVE:
                return


def _stage(now: Answer) -> str:
    return f"{now['stage']}: {now['phase']}" if now["phase"] else f"{now['stage']}: {now['status']}"


def _eta(now: Answer) -> str:
    return f"about {now['eta_s']} s left" if now["eta_s"] is not None else ""


def _numbers(now: Answer) -> str:
    if now["train_loss"] is None:
        return ""
    dice = "unknown" if now["pseudo_dice"] is None else f"{now['pseudo_dice']:.3f}"
    epoch = f"epoch {now['epoch']}/{now['epochs']}" if now["epochs"] else f"{now['epoch']} epochs"
    return f"{epoch}, train_loss {now['train_loss']:.3f}, pseudo Dice {dice}"


async def _stop_runs(client: Client) -> None:
    """End what was started and wait until it has ended."""
    for run in (await _call(client, "nnunet_runs"))["runs"]:
        status = (await _call(client, "nnunet_cancel", run_id=run["run_id"], force=True))["status"]
        with anyio.move_on_after(20):
            while status in ACTIVE:
                status = (await _call(client, "nnunet_progress", run_id=run["run_id"], wait_s=5))["status"]


async def _show_result(client: Client, run_id: str, console: Console) -> None:
    result = await _call(client, "nnunet_results", run_id=run_id)
    documented = ("status", "model_path", "dataset_id", "configuration", "fold", "metrics", "per_class", "failure")
    console.print_json(json.dumps({name: result[name] for name in documented}))
    if result["status"] != "success":
        raise DemoFailed(f"The training ended as {result['status']}.")
    model = Path(result["model_path"])
    console.print(f"The model is in {model}", soft_wrap=True)
    console.print(f"nnU-Net's learning curve: {model / 'progress.png'}", soft_wrap=True)
    console.print(f"Predictions of the validation cases: {model / 'validation'}", soft_wrap=True)

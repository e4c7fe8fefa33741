"""A place to train for real: its own nnU-Net folders, the real server over stdio, a real MCP client."""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult
from pydantic import BaseModel

from nnunet_mcp.runs.machine.gpus import MACHINE
from nnunet_mcp.runs.processes import STAGE_VARIABLE
from nnunet_mcp.schemas.base import Record
from nnunet_mcp.settings import Settings

STAND_IN = Path(__file__).with_name("stand_in_worker.py")
TRAINERS = Path(__file__).parents[1] / "trainers"
ACTIVE = ("queued", "running")
# Where pools of processes are not the point: each of their processes takes seconds to import PyTorch.
FEW = {"nnUNet_def_n_proc": "1", "nnUNet_npp": "1", "nnUNet_nps": "1"}
Answer = dict[str, Any]


class ToolRefused(Exception):
    """The tool answered with an error."""


@dataclass
class Lab:
    """One workspace and how to talk to servers on it."""

    folder: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "nnUNet_raw": str(self.folder / "raw"),
            "nnUNet_preprocessed": str(self.folder / "preprocessed"),
            "nnUNet_results": str(self.folder / "results"),
            "nnUNet_extTrainer": str(TRAINERS),
            "NNUNET_MCP_ALLOWED_DIRS": str(self.folder.parent),
            "TESTS_PYTHON": sys.executable,
        }
        return {**os.environ, **own, **self.extra}

    @property
    def settings(self) -> Settings:
        folders = {name: self.folder / name for name in ("raw", "preprocessed", "results")}
        return Settings.model_validate(folders)

    def run_dir(self, run_id: str) -> Path:
        return self.settings.state_dir / "runs" / run_id

    @property
    def command(self) -> StdioServerParameters:
        """How to start a server on this workspace."""
        return StdioServerParameters(command=sys.executable, args=["-m", "nnunet_mcp"], env=self.environment)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client of a fresh server process."""
        async with Client(stdio_client(self.command)) as client:
            yield client

    def call(self, tool: str, **arguments: Any) -> Answer:
        """One tool call on a server of its own."""

        async def once() -> CallToolResult:
            async with self.client() as client:
                return await client.call_tool(tool, arguments)

        return structured(anyio.run(once))

    def train(self, *, timeout_s: float = 900, **arguments: Any) -> Answer:
        """Start a training on one server and follow it on another; returns its result."""
        started = self.call("nnunet_training", **arguments)
        return self.finish(started["run_id"], timeout_s=timeout_s)

    def finish(self, run_id: str, *, timeout_s: float = 900) -> Answer:
        """Wait for a run's end and return its result."""

        async def follow() -> Answer:
            with anyio.fail_after(timeout_s):
                async with self.client() as client:
                    while (await call(client, "nnunet_progress", run_id=run_id, wait_s=20))["status"] in ACTIVE:
                        pass
                    return await call(client, "nnunet_results", run_id=run_id)

        return anyio.run(follow)

    def wait_for(self, run_id: str, condition: Callable[[Answer], bool], *, timeout_s: float = 300) -> Answer:
        """Poll the progress until the condition holds."""

        async def follow() -> Answer:
            with anyio.fail_after(timeout_s):
                async with self.client() as client:
                    while True:
                        progress = await call(client, "nnunet_progress", run_id=run_id, wait_s=2)
                        if condition(progress) or progress["status"] not in ACTIVE:
                            return progress

        return anyio.run(follow)

    def stop(self) -> None:
        """End every run, so that a failed test leaves nothing running."""
        for run in self.call("nnunet_runs", limit=200)["runs"]:
            if run["status"] in ACTIVE:
                self.call("nnunet_cancel", run_id=run["run_id"], force=True)

    def processes(self) -> list[psutil.Process]:
        """Every live process of any stage in this workspace."""
        found = []
        for process in psutil.process_iter():
            try:
                mark = process.environ().get(STAGE_VARIABLE, "")
                if mark.startswith(str(self.folder)) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


async def call(client: Client, tool: str, **arguments: Any) -> Answer:
    """Call a tool and return its structured answer.

    Raises:
        ToolRefused: with the text that a model would read.
    """
    return structured(await client.call_tool(tool, arguments))


class Fields(dict[str, Any]):
    """An answer as a reader of its schema sees it: a field that is left out has its default, or is null."""

    def __missing__(self, name: str) -> Any:
        return json.loads(defaults()[name])


@functools.cache
def defaults() -> dict[str, str]:
    """What every field of every answer is where it is left out, as JSON."""
    fields = [field for kind in kinds(Record) for field in kind.model_fields.items()]
    optional = {
        name: json.dumps(field.get_default(call_default_factory=True), default=str)
        for name, field in fields
        if not field.is_required()
    }
    return {**dict.fromkeys((name for name, _ in fields), "null"), **optional}


def kinds(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and all that are derived from it."""
    yield model
    for derived in model.__subclasses__():
        yield from kinds(derived)


def structured(result: CallToolResult) -> Answer:
    """The structured answer of a tool call.

    Raises:
        ToolRefused: the tool answered with an error.
    """
    if result.is_error or result.structured_content is None:
        raise ToolRefused(" ".join(getattr(block, "text", "") for block in result.content))
    fields: Answer = json.loads(json.dumps(result.structured_content), object_hook=Fields)
    return fields


def until(condition: Callable[[], bool], *, timeout_s: float = 60) -> bool:
    """Whether the condition came true within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def msd_subset(source: Path, target: Path, cases: int) -> Path:
    """The first cases of a Medical Segmentation Decathlon task, in the same layout."""
    description = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    chosen = description["training"][:cases]
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True)
        for entry in chosen:
            name = Path(entry["image"]).name
            shutil.copyfile(source / folder / name, target / folder / name)
    kept = {**description, "numTraining": cases, "training": chosen}
    (target / "dataset.json").write_text(json.dumps(kept), encoding="utf-8")
    return target


def hippocampus_lab(folder: Path, task: Path, *, cases: int = 5, environment: dict[str, str] | None = None) -> Lab:
    """A workspace below `folder` with the first real cases as dataset 4."""
    source = msd_subset(task, folder / "Task04_Hippocampus", cases)
    lab = Lab(folder / "work", environment or {})
    lab.call("nnunet_prepare_dataset", source=str(source), dataset_id=4, name="Hippocampus")
    return lab


def write_evil_checkpoint(path: Path, evidence: Path) -> None:
    """A checkpoint that makes the file `evidence` when it is unpickled."""
    script = (
        "import sys, torch\n"
        "class Evil:\n"
        "    def __reduce__(self):\n"
        f"        return (open, ({str(evidence)!r}, 'w'))\n"
        "torch.save({'network_weights': {}, 'evil': Evil()}, sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def make_tiny_plans(preprocessed: Path, name: str = "tinyPlans") -> None:
    """Plans with a very small network on the data that nnUNetPlans has preprocessed."""
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = name
    for configuration, patch, batch in (("3d_fullres", [16, 24, 16], 2), ("2d", [32, 32], 4)):
        if configuration in plans["configurations"]:
            _shrink(plans["configurations"][configuration], patch, batch)
    wanted = ("2d", "3d_fullres")
    plans["configurations"] = {k: v for k, v in plans["configurations"].items() if k in wanted}
    (preprocessed / f"{name}.json").write_text(json.dumps(plans), encoding="utf-8")


def _shrink(configuration: dict[str, Any], patch: list[int], batch: int) -> None:
    axes = len(patch)
    configuration.update(patch_size=patch, batch_size=batch)
    configuration["architecture"]["arch_kwargs"].update(
        n_stages=3,
        features_per_stage=[4, 8, 16],
        kernel_sizes=[[3] * axes] * 3,
        strides=[[1] * axes, [2] * axes, [2] * axes],
        n_conv_per_stage=[1, 1, 1],
        n_conv_per_stage_decoder=[1, 1],
    )


def stand_in_nvidia_smi(folder: Path, script: str) -> None:
    """A program of that name that does what the shell script says."""
    new = folder / ".nvidia-smi"
    new.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    new.chmod(0o755)
    new.replace(folder / "nvidia-smi")
    MACHINE.forget()


def stand_in_python(folder: Path, script: Path = STAND_IN) -> Path:
    """A Python that plays the worker with the script."""
    program = folder / "worker python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def kill_group(pid: int) -> None:
    """What MCP clients do to a server that does not go."""
    os.killpg(os.getpgid(pid), signal.SIGKILL)

"""A server that a client starts in a stranger's folder imports nothing from it, and nothing that it starts does."""

import importlib.metadata
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from nnunet_mcp import ask as asking
from nnunet_mcp.ask import Failed, NoJob, TookTooLong, ask
from nnunet_mcp.launch import inherited, python_command
from nnunet_mcp.nnunet.installed import Installed
from tests.chaos import stand_in_worker
from tests.kit.lab import ACTIVE, Lab, call, until
from tests.kit.phantom import write_phantom

COMMANDS = {
    "nnunet-mcp": [str(Path(sys.executable).with_name("nnunet-mcp"))],
    "python -P -m nnunet_mcp": python_command(sys.executable, "nnunet_mcp"),
    "python -m nnunet_mcp": [sys.executable, "-m", "nnunet_mcp"],
}
CUSTOM = ("sitecustomize", "usercustomize", "evil_backend")


def installed_modules() -> set[str]:
    """Every name that is installed, as somebody imports it."""
    return {name for name in importlib.metadata.packages_distributions() if name.isidentifier()} | {"nnunet_mcp"}


def set_traps(folder: Path, names: set[str]) -> Path:
    """Modules that write down that they were imported; returns the file in which they do."""
    folder.mkdir(parents=True)
    evidence = folder.parent / "imported.txt"
    trap = f"import sys\nwith open({str(evidence)!r}, 'a') as s: s.write(f'{{__name__}} by {{sys.orig_argv[:5]}}\\n')\n"
    for name in names:
        (folder / f"{name}.py").write_text(f"{trap}raise ImportError(__name__)\n", encoding="utf-8")
    (folder / "matplotlibrc").write_text("backend: module://evil_backend\n", encoding="utf-8")
    return evidence


def sprung(evidence: Path) -> str:
    return evidence.read_text(encoding="utf-8") if evidence.exists() else ""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    extra = {"NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__, "STAND_IN_PACE_S": "0.01"}
    lab = Lab(tmp_path / "work", extra)
    write_phantom(lab.folder / "raw" / "Dataset071_Played", cases=5, shape=(16, 16, 16))
    write_phantom(lab.folder / "source", cases=5, shape=(4, 4, 4))
    return lab


def client_in(folder: Path, lab: Lab, command: list[str]) -> Client:
    program, *words = command
    return Client(stdio_client(StdioServerParameters(command=program, args=words, env=lab.environment, cwd=folder)))


REQUEST: dict[str, Any] = {"dataset_id": 71, "configuration": "3d_fullres", "fold": "0", "device": "cpu"}


def calls_of(run_id: str, lab: Lab) -> dict[str, list[dict[str, Any]]]:
    """For every tool the arguments that make it start what it can start."""
    run = {"run_id": run_id}
    return {
        "nnunet_datasets": [{}, {"dataset_id": 71}],
        "nnunet_plot": [{"kind": "dataset", "dataset_id": 71}, {**run, "kind": "curves"}],
        "nnunet_preflight": [REQUEST, {**REQUEST, "measure": True}],
        "nnunet_prepare_dataset": [{"source": str(lab.folder / "source"), "dataset_id": 72, "name": "New"}],
        "nnunet_split_dataset": [{"dataset_id": 71}],
        "nnunet_training": [{**REQUEST, "dataset_id": 72}],
        "nnunet_predict": [{**run, "images": str(lab.folder / "raw" / "Dataset071_Played" / "imagesTr")}],
        "nnunet_find_best_configuration": [{"dataset_id": 71}],
        "nnunet_evaluate": [{"predictions": "labelsTr", "labels": "labelsTs", "dataset_id": 71}],
        "nnunet_export_model": [run],
        "nnunet_import_model": [{"zip": str(lab.folder / "model.zip")}],
        "nnunet_progress": [run],
        "nnunet_logs": [run, {**run, "mode": "grep", "pattern": "epoch"}],
        "nnunet_results": [run],
        "nnunet_compare": [{"dataset_id": 71}],
        "nnunet_report": [{"run_ids": [run_id]}],
        "nnunet_runs": [{}],
        "nnunet_queue": [{**run, "action": "front"}],
        "nnunet_system": [{}],
        "nnunet_dashboard": [run],
        "nnunet_dashboard_data": [run],
        "nnunet_cancel": [run],
    }


async def call_every_tool(client: Client, lab: Lab, run_id: str) -> None:
    """Whatever they answer: what counts is what they import."""
    listed = [tool.name for tool in (await client.list_tools()).tools]
    known = calls_of(run_id, lab)
    assert set(listed) <= set(known)
    for tool in sorted(listed, key=list(known).index):
        for arguments in known[tool]:
            await client.call_tool(tool, arguments)


async def one_run(client: Client) -> str:
    run_id = str((await call(client, "nnunet_training", **REQUEST))["run_id"])
    while (await call(client, "nnunet_progress", run_id=run_id, wait_s=20))["status"] in ACTIVE:
        pass
    return run_id


@pytest.mark.heavy
@pytest.mark.parametrize("start", COMMANDS)
def test_no_tool_imports_a_module_of_the_folder_that_the_server_was_started_in(
    start: str, lab: Lab, tmp_path: Path
) -> None:
    names = installed_modules() | set(CUSTOM)
    # Without -P the interpreter itself looks into the folder before any of our lines is read.
    names = names - {"nnunet_mcp"} if start == "python -m nnunet_mcp" else names | set(sys.stdlib_module_names)
    folder = tmp_path / "project"
    evidence = set_traps(folder, names)

    async def drive() -> None:
        with anyio.fail_after(300):
            async with client_in(folder, lab, COMMANDS[start]) as client:
                run_id = await one_run(client)
                await call_every_tool(client, lab, run_id)
            async with client_in(folder, lab, [*COMMANDS[start], "--read-only"]) as client:
                await call_every_tool(client, lab, run_id)

    anyio.run(drive)
    assert sprung(evidence) == ""


@pytest.mark.parametrize("path", ["", ".", ":", f"{os.sep}somewhere::", "project/..", "{folder}/../project"])
def test_only_a_whole_path_in_pythonpath_is_a_choice(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = set_traps(tmp_path / "project", {"psutil", "sitecustomize"})
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", path.format(folder=tmp_path / "project"))

    found = ask(sys.executable, "nnunet_mcp.nnunet.installed", Installed, timeout_s=60)

    chosen = path.startswith("{folder}")
    assert ("sitecustomize" in sprung(evidence)) == chosen
    assert "python" in found.versions
    assert inherited().get("PYTHONPATH", "absolute").startswith(("/", "absolute"))


GRANDCHILD = """
import multiprocessing, os, subprocess, sys
def look(_):
    import psutil
    return psutil.__file__
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(1) as pool:
        print(pool.map(look, [0])[0])
    print(subprocess.run([sys.executable, "-c", "import psutil; print(psutil.__file__)"], stdout=-1, text=True).stdout)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_of_our_processes_do_not_look_into_their_working_folder(method: str, tmp_path: Path) -> None:
    evidence = set_traps(tmp_path / "project", {"psutil", "torch"})
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "grandchild.py").write_text(GRANDCHILD, encoding="utf-8")
    environment = {**inherited(), "PYTHONPATH": str(tmp_path / "own")}
    command = python_command(sys.executable, "grandchild", method)
    done = subprocess.run(
        command, cwd=tmp_path / "project", env=environment, capture_output=True, text=True, check=True
    )

    assert sprung(evidence) == ""
    assert done.stdout.count("psutil/__init__.py") == 2


def test_trainers_of_ones_own_and_a_path_of_ones_own_still_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('here')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path}")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))

    with pytest.raises(Failed, match="here"):
        ask(sys.executable, "nnunet_mcp.nnunet.installed", Installed, timeout_s=60)
    assert inherited()["nnUNet_extTrainer"] == str(tmp_path)


def test_who_asks_a_process_that_cannot_be_killed_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver can hold it in uninterruptible sleep."""
    unkilled: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(asking, "python_command", lambda *_: ["sleep", "30"])

    with monkeypatch.context() as held_by_the_driver:
        held_by_the_driver.setattr("subprocess.Popen.kill", lambda process: unkilled.append(process))
        begun = time.monotonic()
        with pytest.raises(TookTooLong):
            ask(sys.executable, "a module", NoJob, timeout_s=0.2)

    assert time.monotonic() - begun < 10
    unkilled[0].kill()
    assert until(lambda: unkilled[0].returncode is not None)

"""Claude Desktop's bundle: valid, light, and a server that trains with the Python that the person names."""

import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from bundle.build import build
from nnunet_mcp import __version__
from nnunet_mcp.tools import TOOLS
from tests.kit.lab import ACTIVE, Lab, call
from tests.kit.light import ROOT, make_environment, needed
from tests.kit.phantom import write_phantom

MCPB = ROOT / "tests" / "clients" / "hosts" / "node_modules" / ".bin" / "mcpb"
STARTS_WITHIN_S = 10  # so long waits Codex, and others longer


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    bundle = build(folder)
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def manifest_of(unpacked: Path) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))
    return written


def test_the_bundle_has_the_whole_package_the_tools_and_the_version(unpacked: Path) -> None:
    manifest = manifest_of(unpacked)

    assert [tool["name"] for tool in manifest["tools"]] == [tool.name for tool in TOOLS]
    written = tomllib.loads((unpacked / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert manifest["version"] == written["version"] == __version__
    assert (unpacked / "nnunet_mcp" / "worker" / "steps" / "train.py").is_file()
    assert not any(path.is_symlink() for path in unpacked.rglob("*"))


def test_the_bundle_needs_what_the_project_needs_without_nnunet_and_what_draws() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    heavy = ("matplotlib", "nnunetv2", "pillow", "simpleitk", "torch")
    assert needed() == [line for line in project["dependencies"] if not line.startswith(heavy)]


@pytest.mark.heavy
def test_the_bundle_is_valid_for_its_own_tool(unpacked: Path) -> None:
    if not MCPB.exists():
        pytest.skip("`make clients` has not installed mcpb")
    done = subprocess.run([MCPB, "validate", unpacked / "manifest.json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    packed = subprocess.run([MCPB, "pack", unpacked, unpacked.parent / "again.mcpb"], capture_output=True, check=False)
    assert packed.returncode == 0


@pytest.fixture(scope="module")
def light_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with what the server needs and without nnU-Net."""
    return make_environment(tmp_path_factory.mktemp("light") / "venv")


@pytest.mark.heavy
def test_a_server_without_nnunet_starts_in_time_and_trains_with_the_named_python(
    unpacked: Path, light_python: Path, tmp_path: Path
) -> None:
    lab = Lab(tmp_path / "work")
    write_phantom(tmp_path / "work" / "raw" / "Dataset020_Light", cases=5, shape=(32, 32, 32))
    parameters = _as_the_host_would(manifest_of(unpacked), unpacked, lab, light_python)
    request = {"dataset_id": 20, "configuration": "3d_fullres", "fold": "0", "device": "cpu"}

    async def drive() -> dict[str, Any]:
        async with _client(parameters) as client:
            refused = await client.call_tool("nnunet_training", {**request, "trainer": "OneStepTrainr"})
            assert "OneStepTrainer" in str(refused.content)
            started = await call(client, "nnunet_training", **request, trainer="OneStepTrainer")
            with anyio.fail_after(600):
                while (await call(client, "nnunet_progress", run_id=started["run_id"], wait_s=20))["status"] in ACTIVE:
                    pass
            plot = await client.call_tool("nnunet_plot", {"run_id": started["run_id"], "kind": "curves"})
            assert not plot.is_error
            system = await call(client, "nnunet_system")
            assert "torch" in system["versions"] and system["problems"] == []
            return await call(client, "nnunet_results", run_id=started["run_id"])

    result = anyio.run(drive)
    assert result["status"] == "success" and result["metrics"]["dice"] is not None


@pytest.mark.heavy
def test_a_server_without_nnunet_and_without_a_named_python_says_what_is_missing(
    light_python: Path, tmp_path: Path
) -> None:
    lab = Lab(tmp_path / "work")
    write_phantom(tmp_path / "work" / "raw" / "Dataset020_Light", cases=5, shape=(4, 4, 4))
    parameters = StdioServerParameters(
        command=str(light_python), args=["-m", "nnunet_mcp"], env=lab.environment, cwd=str(ROOT)
    )

    async def drive() -> str:
        async with _client(parameters) as client:
            refused = await client.call_tool("nnunet_training", {"dataset_id": 20, "device": "cpu"})
            assert refused.is_error
            [problem] = (await call(client, "nnunet_system"))["problems"]
            assert "NNUNET_MCP_WORKER_PYTHON" in problem
            return str(refused.content)

    assert "nnU-Net is not installed" in anyio.run(drive)


def _as_the_host_would(manifest: dict[str, Any], folder: Path, lab: Lab, python: Path) -> StdioServerParameters:
    """The manifest's command with the person's choices; the environment is made already, so no uv is needed."""
    chosen = {"worker_python": sys.executable, "allowed_dirs": ""}
    chosen |= {which: str(lab.folder / which) for which in ("raw", "preprocessed", "results")}
    command = manifest["server"]["mcp_config"]
    assert command["args"][:3] == ["run", "--directory", "${__dirname}"]
    environment = {}
    for name, value in command["env"].items():
        for key, choice in chosen.items():
            value = value.replace(f"${{user_config.{key}}}", choice)
        environment[name] = value.replace("${__dirname}", str(folder))
    inherited = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(lab.folder),
        "nnUNet_extTrainer": lab.environment["nnUNet_extTrainer"],
    }
    return StdioServerParameters(
        command=str(python), args=command["args"][3:], env={**inherited, **environment}, cwd=str(folder)
    )


@asynccontextmanager
async def _client(parameters: StdioServerParameters) -> AsyncIterator[Client]:
    """A client that gives up on a server as the least patient host does."""
    async with Client(stdio_client(parameters)) as client:
        with anyio.fail_after(STARTS_WITHIN_S):
            await client.list_tools()
        yield client

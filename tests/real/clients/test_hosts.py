"""Real MCP hosts start the server from what `nnunet-mcp client` prints for them, and see its tools."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.tools import TOOLS

pytestmark = pytest.mark.heavy
HOSTS = Path(__file__).parents[2] / "clients" / "hosts" / "node_modules" / ".bin"
SHARED_OPTIONS: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a person who has never used the host, with folders whose names have spaces."""
    (tmp_path / "home").mkdir()
    folders = {f"nnUNet_{which}": str(tmp_path / "my data" / which) for which in ("raw", "preprocessed", "results")}
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, **folders, "HOME": str(tmp_path / "home"), "DISABLE_AUTOUPDATER": "1", "NO_COLOR": "1"}


def program(name: str) -> str:
    """A host's command."""
    if not (HOSTS / name).exists():
        pytest.skip("`make clients` has not installed the hosts")
    return str(HOSTS / name)


def printed(client: str, environment: Mapping[str, str]) -> str:
    """What `nnunet-mcp client` prints."""
    command = [sys.executable, "-m", "nnunet_mcp", "client", client]
    told: str = subprocess.run(command, check=True, env=dict(environment), **SHARED_OPTIONS).stdout
    return told


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Without the folders: the entry alone has to bring them."""
    return {name: value for name, value in environment.items() if not name.startswith("nnUNet")}


def added(client: str, home: dict[str, str], folder: Path) -> str:
    """Run the printed command of a host that adds servers by command; returns the host's program."""
    name, *arguments = shlex.split(printed(client, home))
    subprocess.run([program(name), *arguments], check=True, env=clean(home), cwd=folder, **SHARED_OPTIONS)
    return program(name)


def test_claude_code_connects(home: dict[str, str], tmp_path: Path) -> None:
    claude = added("claude-code", home, tmp_path)
    told = subprocess.run([claude, "mcp", "get", "nnunet"], env=clean(home), cwd=tmp_path, **SHARED_OPTIONS).stdout
    assert "Connected" in told and f"nnUNet_raw={home['nnUNet_raw']}" in told


def test_gemini_connects(home: dict[str, str], tmp_path: Path) -> None:
    gemini = added("gemini", home, tmp_path)
    file = Path(home["HOME"]) / ".gemini" / "settings.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    trusting = {**settings, "security": {"folderTrust": {"enabled": False}}}  # it starts no server in a new folder
    file.write_text(json.dumps(trusting), encoding="utf-8")

    told = subprocess.run([gemini, "mcp", "list"], env=clean(home), cwd=tmp_path, **SHARED_OPTIONS)

    assert "nnunet: " in told.stdout + told.stderr and "Connected" in told.stdout + told.stderr
    assert "Disconnected" not in told.stdout + told.stderr
    assert Path(home["nnUNet_raw"]).is_dir()


def test_codex_sees_every_tool(home: dict[str, str], tmp_path: Path) -> None:
    codex = program("codex")
    configuration = Path(home["HOME"]) / ".codex" / "config.toml"
    configuration.parent.mkdir()
    configuration.write_text(printed("codex", home), encoding="utf-8")

    answer = _ask_codex(codex, clean(home), tmp_path)

    [server] = answer["result"]["data"]
    assert server["name"] == "nnunet" and set(server["tools"]) == {tool.name for tool in TOOLS}
    assert Path(home["nnUNet_results"]).is_dir()


def _ask_codex(codex: str, environment: dict[str, str], folder: Path) -> dict[str, Any]:
    """The answer of its own app server about the MCP servers that it has started."""
    messages: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "test", "title": "test", "version": "1"}}},
        {"method": "initialized"},
        {"id": 2, "method": "mcpServerStatus/list", "params": {}},
    ]
    with subprocess.Popen(
        [codex, "app-server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=folder,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        answers = (json.loads(line) for line in process.stdout)
        found: dict[str, Any] = next(answer for answer in answers if answer.get("id") == 2)
        process.kill()
    return found

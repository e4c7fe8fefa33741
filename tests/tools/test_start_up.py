"""What the `client` command prints starts this server, on the folders of the shell it was printed in."""

import json
import os
import stat
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from nnunet_mcp.server.terminal.configure import configuration
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools import start_up
from nnunet_mcp.tools.start_up import start_up_check

COMMAND = str(Path(sys.executable).with_name("nnunet-mcp"))


@pytest.mark.parametrize(
    ("client", "key"),
    [
        ("claude-desktop", "mcpServers"),
        ("codex", "mcp_servers"),
        pytest.param("cursor", "mcpServers", marks=pytest.mark.heavy),
        pytest.param("vscode", "servers", marks=pytest.mark.heavy),
    ],
)
def test_what_the_client_command_prints_starts_and_ends_again(settings: Settings, client: str, key: str) -> None:
    settings.create_folders()
    written = configuration(client, settings)
    entry = (tomllib.loads if client == "codex" else json.loads)(written)[key]["nnunet"]

    found = start_up_check([entry["command"], *entry.get("args", [])], entry["env"])

    assert found.level == "ok" and "starts and answers in" in found.detail
    assert entry["env"]["nnUNet_results"] == str(settings.folder("results"))


def test_what_goose_reads_names_the_command_and_the_folders(settings: Settings) -> None:
    written = yaml.safe_load(configuration("goose", settings))["extensions"]["nnunet"]

    assert (written["type"], written["cmd"], written["enabled"]) == ("stdio", COMMAND, True)
    assert written["envs"]["nnUNet_results"] == str(settings.folder("results"))


def test_what_the_shell_says_about_gpus_libraries_and_nnunet_is_written_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"CUDA_VISIBLE_DEVICES": "2", "LD_LIBRARY_PATH": "/opt/cuda/lib", "nnUNet_compile": "f"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)

    written = yaml.safe_load(configuration("goose", Settings()))["extensions"]["nnunet"]["envs"]

    assert said.items() <= written.items() and "NNUNET_MCP_SHARE_GPUS" not in written


def test_a_server_that_is_not_installed_is_a_problem(tmp_path: Path) -> None:
    found = start_up_check([str(tmp_path / "nnunet-mcp")], {})

    assert found.level == "problem" and "cannot be started" in found.detail


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo Welcome; cat > /dev/null", "prints something else"),
        ("exit 3", "ends at once, with exit code 3"),
        ("exec sleep 600", "does not answer within"),
        ('read line; sleep 0.3; echo "{\\"jsonrpc\\": \\"2.0\\"}"; cat > /dev/null', "to answer"),
    ],
)
def test_a_server_that_starts_badly_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setattr(start_up, "END_S", 0.2)
    command = [_program(tmp_path / "nnunet-mcp", script)]

    found = start_up_check(command, {}, slow_s=0.2, limit_s=1.0)

    assert found.level != "ok" and words in found.detail and found.fix


def _program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert os.access(path, os.X_OK)
    return str(path)

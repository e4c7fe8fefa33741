"""Mistakes in clients' configuration files are recognised, and nobody's secrets are shown."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nnunet_mcp.schemas.system import Check
from nnunet_mcp.server.terminal import start_up
from nnunet_mcp.server.terminal.clients import client_checks, client_files
from nnunet_mcp.server.terminal.configure import configuration
from nnunet_mcp.server.terminal.entry import Entry
from nnunet_mcp.server.terminal.start_up import start_up_check
from nnunet_mcp.settings import Settings

COMMAND = str(Path(sys.executable).with_name("nnunet-mcp"))
SECRET = "sk-very-secret"
OTHER = {"command": "npx", "env": {"API_KEY": SECRET}, "headers": {"Authorization": f"Bearer {SECRET}"}}


def good(settings: Settings, **changed: str | None) -> dict[str, Any]:
    """An entry without mistakes; variables that are None are left out."""
    folders: dict[str, str | None] = {
        f"nnUNet_{which}": str(settings.folder(which)) for which in ("raw", "preprocessed", "results")
    }
    environment = {name: value for name, value in {**folders, **changed}.items() if value is not None}
    return {"command": COMMAND, "env": {**environment, "NNUNET_MCP_HTTP_TOKEN": SECRET}}


def checked(home: Path, content: dict[str, Any] | str, place: str = ".cursor/mcp.json", **more: bool) -> list[Check]:
    """The checks of a home with this one file; nothing secret may be in them."""
    path = home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    found = list(client_checks(home, home / "project", start=more.get("start", False)))
    assert SECRET not in str(found)
    return [check for check in found if str(path) in check.name]


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("Library/Application Support/Claude/claude_desktop_config.json", "mcpServers"),
        (".config/Claude/claude_desktop_config.json", "mcpServers"),
        ("AppData/Roaming/Claude/claude_desktop_config.json", "mcpServers"),
        (".claude.json", "mcpServers"),
        ("project/.mcp.json", "mcpServers"),
        (".cursor/mcp.json", "mcpServers"),
        ("project/.vscode/mcp.json", "servers"),
        (".config/Code/User/mcp.json", "servers"),
    ],
)
def test_an_entry_without_mistakes_is_found_in_every_clients_file(
    settings: Settings, tmp_path: Path, place: str, key: str
) -> None:
    found = checked(tmp_path, {key: {"other": OTHER, "nnunet": good(settings)}}, place)

    assert [(check.level, check.fix) for check in found] == [("ok", "")]
    assert str(tmp_path / place) in {str(file.path) for file in client_files(tmp_path, tmp_path / "project")}


def test_codex_and_the_projects_of_claude_code_are_read_too(settings: Settings, tmp_path: Path) -> None:
    entry = good(settings)
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry["env"].items()]
    toml = "\n".join(["[mcp_servers.nnunet]", f'command = "{COMMAND}"', "[mcp_servers.nnunet.env]", *lines])

    assert [check.level for check in checked(tmp_path, toml, ".codex/config.toml")] == ["ok"]
    projects = {"projects": {"/work": {"mcpServers": {"nnunet": {**entry, "command": "./nnunet-mcp"}}}}}
    assert [check.level for check in checked(tmp_path, projects, ".claude.json")] == ["problem"]


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({"command": "./bin/nnunet-mcp"}, "problem", "is relative"),
        ({"command": "/nowhere/nnunet-mcp"}, "problem", "there is no program"),
        ({"command": "nnunet-mcp-that-is-not-there"}, "problem", "there is no program"),
        ({"command": "~/venv/bin/nnunet-mcp"}, "problem", "nobody expands"),
        ({"command": "$HOME/bin/nnunet-mcp"}, "problem", "nobody expands"),
        ({"command": f"{COMMAND} --read-only"}, "problem", "there is no program"),
        ({"command": "C:\\venv\\Scripts\\nnunet-mcp.exe"}, "problem", "Windows path"),
        ({"command": None}, "problem", "neither command nor url"),
        ({"command": None, "url": "http://127.0.0.1:8765/mcp"}, "warning", "without a bearer token"),
        ({"env": None}, "warning", "nnUNet_raw, nnUNet_preprocessed, nnUNet_results not set"),
        ({"env": ["nnUNet_raw=/data"]}, "problem", "env is no table"),
    ],
)
def test_a_mistake_in_an_entry_is_named_with_its_fix(
    settings: Settings, tmp_path: Path, changed: dict[str, Any], level: str, words: str
) -> None:
    entry = {name: value for name, value in {**good(settings), **changed}.items() if value is not None}

    [found] = checked(tmp_path, {"mcpServers": {"nnunet": entry}})

    assert (found.level, words in found.detail, bool(found.fix)) == (level, True, True), found


@pytest.mark.parametrize(
    ("variable", "value", "level", "words"),
    [
        ("nnUNet_raw", "/nowhere/raw", "problem", "does not exist"),
        ("nnUNet_raw", "$HOME/raw", "problem", "nobody expands the $"),
        ("nnUNet_raw", "~/raw", "warning", "starts with ~"),
        ("nnUNet_raw", "data/raw", "problem", "is relative"),
        ("nnUNet_raw", "C:\\data\\raw", "problem", "Windows path"),
        ("nnUNet_results", None, "warning", "nnUNet_results not set"),
        ("nnUNet_raw_data_base", "/data", "problem", "nobody reads nnUNet_raw_data_base"),
        ("RESULTS_FOLDER", "/data", "problem", "nobody reads RESULTS_FOLDER"),
        ("NNUNET_EXTTRAINER", "/data", "problem", "nobody reads NNUNET_EXTTRAINER"),
        ("NNUNET_MCP_WORKER_PYTON", "python", "problem", "nobody reads NNUNET_MCP_WORKER_PYTON"),
    ],
)
def test_a_mistake_in_the_environment_is_named_with_its_fix(
    settings: Settings, tmp_path: Path, variable: str, value: str | None, level: str, words: str
) -> None:
    [found] = checked(tmp_path, {"mcpServers": {"nnunet": good(settings, **{variable: value})}})

    assert (found.level, words in found.detail, bool(found.fix)) == (level, True, True), found


def test_our_settings_may_be_written_in_any_case(settings: Settings, tmp_path: Path) -> None:
    entry = good(settings, nnUNet_raw=None, NNUNET_RAW=str(settings.folder("raw")))

    assert [check.level for check in checked(tmp_path, {"mcpServers": {"nnunet": entry}})] == ["ok"]


def test_a_client_with_other_folders_than_this_shell_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / ".claude.json").write_text(json.dumps({"mcpServers": {"nnunet": good(settings)}}), encoding="utf-8")
    here = settings.folder("results")

    [other] = client_checks(tmp_path, tmp_path, start=False, results=tmp_path)
    [same] = client_checks(tmp_path, tmp_path, start=False, results=here)

    assert other.level == "warning" and f"export nnUNet_results={here}" in other.fix
    assert same.level == "ok"


def test_comments_are_no_mistake_in_vs_code(settings: Settings, tmp_path: Path) -> None:
    text = f'{{\n  // the tools\n  "servers": {{"nnunet": {json.dumps(good(settings))},}},\n}}'

    behind = f'{{"servers": {{ // ours\n"nnunet": {json.dumps(good(settings))}, /* the\nlast, */ }} // "end"\n}}'
    address = '{"servers": {"web": {"url": "https://x.example/a,]"}}}'

    for valid in (text, behind, address):
        assert {check.level for check in checked(tmp_path, valid, "project/.vscode/mcp.json")} <= {"ok", "warning"}
    assert [check.level for check in checked(tmp_path, text, ".cursor/mcp.json")] == ["problem"]


def test_variables_that_the_client_expands_are_no_mistake(settings: Settings, tmp_path: Path) -> None:
    braced = {"mcpServers": {"nnunet": good(settings, nnUNet_raw="${HOME}/raw")}}

    assert [check.level for check in checked(tmp_path, braced, ".cursor/mcp.json", start=True)] == ["ok"]
    desktop = ".config/Claude/claude_desktop_config.json"
    assert [check.level for check in checked(tmp_path, braced, desktop)] == ["problem"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{{"mcpServers": {{"other": "{SECRET}",}}}}', "It is not valid JSON (line 1, column"),
        ('{"command": "C:\\Users\\x"}', "a single backslash"),
        ("[1]", "not a JSON object"),
        ("", "not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place_but_not_its_content(
    settings: Settings, tmp_path: Path, text: str, words: str
) -> None:
    [found] = checked(tmp_path, text)

    assert found.level == "problem" and words in found.detail
    assert checked(tmp_path, f'key = "{SECRET}', ".codex/config.toml")[0].level == "problem"


@pytest.mark.parametrize(
    ("client", "place"),
    [
        ("claude-desktop", ".config/Claude/claude_desktop_config.json"),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", ".config/Code/User/mcp.json"),
        ("codex", ".codex/config.toml"),
    ],
)
def test_what_the_client_command_prints_has_no_mistakes_and_starts(
    settings: Settings, tmp_path: Path, client: str, place: str
) -> None:
    settings.create_folders()

    [found] = checked(tmp_path, configuration(client, settings), place, start=True)

    assert found.level == "ok" and "starts" in found.detail


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


def test_the_wrong_key_is_named_with_the_right_one(settings: Settings, tmp_path: Path) -> None:
    [found] = checked(tmp_path, {"servers": {"nnunet": good(settings)}})
    [code] = checked(tmp_path, {"mcpServers": {"nnunet": good(settings)}}, ".config/Code/User/mcp.json")

    assert found.level == "problem" and found.fix == "Move it under 'mcpServers'."
    assert code.level == "problem" and code.fix == "Move it under 'servers'."


def test_a_client_without_it_is_no_problem_and_none_at_all_gets_the_command(tmp_path: Path) -> None:
    [found] = checked(tmp_path, {"mcpServers": {"other": OTHER}})
    [*_, last] = client_checks(tmp_path, tmp_path, start=False)

    assert (found.level, found.detail) == ("ok", "nnunet-mcp is not in it")
    assert last.level == "warning" and "`nnunet-mcp client claude-code`" in last.fix


def test_the_real_command_is_started_as_a_client_would_and_ends_again(settings: Settings, tmp_path: Path) -> None:
    [found] = checked(tmp_path, {"mcpServers": {"nnunet": good(settings)}}, start=True)

    assert found.level == "ok" and "starts and answers in" in found.detail


def test_nothing_in_a_projects_own_file_is_started(settings: Settings, tmp_path: Path) -> None:
    trace = tmp_path / "started"
    program = _program(tmp_path / "nnunet-mcp", f'touch "{trace}"')
    content = {"mcpServers": {"nnunet": {**good(settings), "command": program}}}

    assert checked(tmp_path, content, "project/.mcp.json", start=True)[0].level == "ok"
    assert not trace.exists()
    checked(tmp_path, content, ".cursor/mcp.json", start=True)
    assert trace.exists()


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
    entry = Entry("nnunet", "mcpServers", {"command": _program(tmp_path / "nnunet-mcp", script)})

    found = start_up_check("file", entry, slow_s=0.2, limit_s=1.0)

    assert found.level != "ok" and words in found.detail and found.fix


def _program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert os.access(path, os.X_OK)
    return str(path)

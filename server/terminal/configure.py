"""The configuration entry that makes a client start this installation on these folders: `nnunet-mcp client NAME`."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...settings import Settings
from ...tools.start_up import environment, own_command

NAME = "nnunet"
# Limits of clients: Codex waits 10 s for a start and 60 s for an answer, Goose 300 s for an answer.
CODEX_ANSWER_S = 120
GOOSE_ANSWER_S = 300


@dataclass(frozen=True)
class Client:
    """A client: what people call it, where its configuration is, and how an entry is written there."""

    title: str
    where: str
    write: Callable[[str, Mapping[str, str]], str]


def _claude_code(command: str, variables: Mapping[str, str]) -> str:
    flags = " ".join(f"--env {shlex.quote(f'{name}={value}')}" for name, value in variables.items())
    return f"claude mcp add --scope user {NAME} {flags} -- {shlex.quote(command)}"


def _gemini(command: str, variables: Mapping[str, str]) -> str:
    flags = " ".join(f"-e {shlex.quote(f'{name}={value}')}" for name, value in variables.items())
    return f"gemini mcp add --scope user {flags} {NAME} {shlex.quote(command)}"


def _json(key: str, **more: str) -> Callable[[str, Mapping[str, str]], str]:
    def write(command: str, variables: Mapping[str, str]) -> str:
        return json.dumps({key: {NAME: {**more, "command": command, "env": dict(variables)}}}, indent=2)

    return write


def _codex(command: str, variables: Mapping[str, str]) -> str:
    # A JSON string is also a TOML basic string.
    lines = [f"[mcp_servers.{NAME}]", f"command = {json.dumps(command)}", f"tool_timeout_sec = {CODEX_ANSWER_S}", ""]
    lines += [f"[mcp_servers.{NAME}.env]", *(f"{name} = {json.dumps(value)}" for name, value in variables.items())]
    return "\n".join(lines)


def _goose(command: str, variables: Mapping[str, str]) -> str:
    # JSON is also YAML.
    lines = ["extensions:", f"  {NAME}:", f"    name: {NAME}", "    type: stdio", "    enabled: true"]
    lines += [f"    cmd: {json.dumps(command)}", "    args: []", f"    timeout: {GOOSE_ANSWER_S}", "    envs:"]
    return "\n".join([*lines, *(f"      {name}: {json.dumps(value)}" for name, value in variables.items())])


CLIENTS = {
    "claude-code": Client("Claude Code", "run this command", _claude_code),
    "claude-desktop": Client(
        "Claude Desktop", "claude_desktop_config.json (Settings, Developer, Edit Config)", _json("mcpServers")
    ),
    "vscode": Client(
        "VS Code", "mcp.json (command palette: MCP: Open User Configuration)", _json("servers", type="stdio")
    ),
    "cursor": Client("Cursor", "~/.cursor/mcp.json", _json("mcpServers")),
    "codex": Client("Codex", "~/.codex/config.toml", _codex),
    "gemini": Client("Gemini CLI", "run this command", _gemini),
    "goose": Client("Goose", "~/.config/goose/config.yaml", _goose),
}


def configuration(name: str, settings: Settings) -> str:
    """What to run, or to write into the client's file, so that it starts this nnunet-mcp on these folders."""
    return CLIENTS[name].write(own_command(), environment(settings))

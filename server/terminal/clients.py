"""The configuration files of MCP clients: is nnunet-mcp in them, and would it start?

Only our own entries are looked at closely; nothing of other entries is ever shown, nor any value of ours
that could be a secret.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import read_plain
from ...schemas.system import Check
from .configure import CLIENTS
from .entry import Entry, entry_checks
from .start_up import start_up_check

KEYS = ("mcpServers", "servers", "mcp_servers")
OURS = re.compile(r"nnunet[-_]mcp", re.IGNORECASE)
PLACE = re.compile(r"line (\d+),? column (\d+)")
# VS Code takes comments and a comma before a closing bracket. What stands in quotes is matched first and stays.
TEXT = r'(?P<text>"(?:\\.|[^"\\\n])*")'
COMMENT = re.compile(TEXT + r"|//[^\n]*|/\*.*?\*/", re.DOTALL)
LAST_COMMA = re.compile(TEXT + r"|,(?=\s*[}\]])")
ADD = "Add it: `nnunet-mcp client claude-code` prints what to do; for the others: {others}."


@dataclass(frozen=True)
class ClientFile:
    """A file in which a client looks for servers. Files of a project may be anybody's: nothing in them is started."""

    client: str
    path: Path
    key: str = "mcpServers"
    project: bool = False
    variables: bool = False  # whether the client itself expands ${…}


def client_files(home: Path, here: Path) -> list[ClientFile]:
    """Where the usual clients keep their configuration, on every system."""
    desktop = "claude_desktop_config.json"
    code = ("Library/Application Support/Code", ".config/Code", "AppData/Roaming/Code")
    return [
        ClientFile("Claude Desktop", home / "Library/Application Support/Claude" / desktop),
        ClientFile("Claude Desktop", home / ".config/Claude" / desktop),
        ClientFile("Claude Desktop", home / "AppData/Roaming/Claude" / desktop),
        ClientFile("Claude Code", home / ".claude.json", variables=True),
        ClientFile("Claude Code", here / ".mcp.json", project=True, variables=True),
        ClientFile("Cursor", home / ".cursor/mcp.json", variables=True),
        ClientFile("Cursor", here / ".cursor/mcp.json", project=True, variables=True),
        *(ClientFile("VS Code", home / folder / "User/mcp.json", key="servers", variables=True) for folder in code),
        ClientFile("VS Code", here / ".vscode/mcp.json", key="servers", project=True, variables=True),
        ClientFile("Codex", home / ".codex/config.toml", key="mcp_servers"),
        ClientFile("Gemini CLI", home / ".gemini/settings.json", variables=True),
    ]


def client_checks(home: Path, here: Path, *, start: bool, results: Path | None = None) -> Iterator[Check]:
    """What each client that is here knows of nnunet-mcp; `start` starts it as the client would.

    `results`: nnUNet_results of this shell, to say where a client uses another.
    """
    known = False
    for file in client_files(home, here):
        if file.path.is_file():
            for check, is_ours in _file_checks(file, start=start, results=results):
                known = known or is_ours
                yield check
    if not known:
        detail = "No client that was found has nnunet-mcp in its configuration."
        yield Check(name="clients", level="warning", detail=detail, fix=ADD.format(others=", ".join(CLIENTS)))


def _file_checks(file: ClientFile, *, start: bool, results: Path | None) -> Iterator[tuple[Check, bool]]:
    """The checks of one file, and whether each is about an entry of ours."""
    name = f"{file.client} ({file.path})"
    try:
        content = _read(file)
    except ValueError as error:
        yield Check(name=name, level="problem", detail=str(error), fix=_syntax_fix(file)), False
        return
    except OSError as error:
        fix = "Make it readable for you."
        yield Check(name=name, level="warning", detail=f"It cannot be read ({error.strerror}).", fix=fix), False
        return
    found = list(_ours(content, file))
    for entry in found:
        for check in _our_checks(name, file, entry, start=start, results=results):
            yield check, True
    if not found:
        yield Check(name=name, level="ok", detail="nnunet-mcp is not in it"), False


def _our_checks(name: str, file: ClientFile, entry: Entry, *, start: bool, results: Path | None) -> Iterator[Check]:
    if entry.key != file.key:
        detail = f"{entry.name!r} stands under {entry.key!r}: {file.client} reads {file.key!r}."
        yield Check(name=name, level="problem", detail=detail, fix=f"Move it under {file.key!r}.")
    found = [*entry_checks(name, entry, expands=file.variables), *_elsewhere(name, entry, results)]
    yield from found
    if any(check.level != "ok" for check in found) or entry.key != file.key:
        return
    # What the client would put in for ${…} is not known here.
    startable = start and not file.project and entry.command is not None and "${" not in str(entry.content)
    yield start_up_check(name, entry) if startable else Check(name=name, level="ok", detail=f"has {entry.name!r}")


def _elsewhere(name: str, entry: Entry, results: Path | None) -> Iterator[Check]:
    theirs = entry.environment.get("nnUNet_results")
    if (
        results is not None
        and theirs is not None
        and Path(theirs).is_dir()
        and not (results.exists() and results.samefile(theirs))
    ):
        detail = f"{entry.name!r} uses nnUNet_results={theirs}; here it is {results}, so the runs are not the same."
        yield Check(name=name, level="warning", detail=detail, fix=f"export nnUNet_results={theirs} to see them here.")


def _read(file: ClientFile) -> dict[str, Any]:
    """The file's content.

    Raises:
        ValueError: it is not JSON or TOML; the message shows nothing of what is in it.
    """
    kind = "TOML" if file.path.suffix == ".toml" else "JSON"
    try:
        text = read_plain(file.path).decode("utf-8-sig")
        if file.client == "VS Code":
            text = LAST_COMMA.sub(_without, COMMENT.sub(_without, text))
        content = tomllib.loads(text) if kind == "TOML" else json.loads(text)
    except ValueError as error:
        place = PLACE.search(str(error))
        where = f" (line {place[1]}, column {place[2]})" if place else ""
        hint = ": a single backslash" if "escape" in str(error) else ""
        raise ValueError(f"It is not valid {kind}{where}{hint}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"It is not a {kind} object.")
    return content


def _without(match: re.Match[str]) -> str:
    """Nothing, in as many lines, so that an error's line is the file's."""
    return match["text"] or "\n" * match[0].count("\n")


def _syntax_fix(file: ClientFile) -> str:
    if file.path.suffix == ".toml":
        return "Correct it there; until then the client starts no server."
    return "Correct it there (commas, quotes, \\\\ or / for a backslash); until then the client starts no server."


def _ours(content: dict[str, Any], file: ClientFile) -> Iterator[Entry]:
    projects = content.get("projects")
    places = [content, *(projects.values() if isinstance(projects, dict) else [])]
    for place in places:
        for key in KEYS:
            servers = place.get(key) if isinstance(place, dict) else None
            for name, entry in servers.items() if isinstance(servers, dict) else ():
                if isinstance(entry, dict) and _is_ours(name, entry):
                    yield Entry(name, key, entry)


def _is_ours(name: str, entry: dict[str, Any]) -> bool:
    arguments = entry.get("args")
    words = [name, entry.get("command"), *(arguments if isinstance(arguments, list) else [])]
    return "nnunet" in name.lower() or any(isinstance(word, str) and OURS.search(word) for word in words)

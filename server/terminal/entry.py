"""One entry of a client's configuration: the mistakes that people make in it."""

import difflib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...schemas.system import Check
from ...settings import Settings, variable

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
PATHS = (*FOLDERS, "NNUNET_MCP_DATA", "NNUNET_MCP_HOME")
# Everything that nnunetv2 2.8.1 reads, and what its first version read.
MORE = (
    "extTrainer",
    "n_proc_DA",
    "def_n_proc",
    "compile",
    "npp",
    "nps",
    "wandb_enabled",
    "wandb_mode",
    "wandb_project",
)
OF_NNUNET = (*FOLDERS, *(f"nnUNet_{name}" for name in MORE))
# Our settings are read whatever their case; nnU-Net's own variables are not.
SETTINGS = {found.lower(): found for found in (variable(*item) for item in Settings.model_fields.items())}
OF_VERSION_1 = {"nnUNet_raw_data_base": "nnUNet_raw", "RESULTS_FOLDER": "nnUNet_results"}
WINDOWS = re.compile(r"^[A-Za-z]:[\\/]|\\")
BRACED = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True)
class Entry:
    """An entry of ours, as the client reads it."""

    name: str
    key: str
    content: dict[str, Any]

    @property
    def command(self) -> str | None:
        found = self.content.get("command")
        return found if isinstance(found, str) else None

    @property
    def arguments(self) -> list[str]:
        found = self.content.get("args")
        return [str(word) for word in found] if isinstance(found, list) else []

    @property
    def environment(self) -> dict[str, str]:
        found = self.content.get("env")
        items = found.items() if isinstance(found, dict) else ()
        return {SETTINGS.get(str(name).lower(), str(name)): str(value) for name, value in items}


@dataclass(frozen=True)
class Report:
    """Writes the checks of one entry."""

    file: str
    entry: Entry

    def problem(self, detail: str, fix: str) -> Check:
        return Check(name=self.file, level="problem", detail=f"{self.entry.name!r}: {detail}", fix=fix)

    def warning(self, detail: str, fix: str) -> Check:
        return Check(name=self.file, level="warning", detail=f"{self.entry.name!r}: {detail}", fix=fix)

    def ok(self, detail: str) -> Check:
        return Check(name=self.file, level="ok", detail=f"{self.entry.name!r}: {detail}")


def entry_checks(file: str, entry: Entry, *, expands: bool) -> Iterator[Check]:
    """What is wrong with an entry; `expands`: the client replaces ${…} by itself."""
    report = Report(file, entry)
    if entry.command is None:
        yield _remote(report)
        return
    if _unexpanded(entry.command, expands) or not BRACED.search(entry.command):
        yield from _command(report, entry.command, expands)
    yield from _environment(report, expands)


def _remote(report: Report) -> Check:
    url = report.entry.content.get("url")
    if not isinstance(url, str):
        return report.problem("it has neither command nor url.", "Give it the command nnunet-mcp with its whole path.")
    parts = urlsplit(url)
    headers = report.entry.content.get("headers") or report.entry.content.get("http_headers")
    shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
    names = {str(name).lower() for name in headers} if isinstance(headers, dict) else set()
    tokens = ("bearer_token_env_var", "env_http_headers")
    if "authorization" not in names and not any(name in report.entry.content for name in tokens):
        fix = "Add the header Authorization: Bearer … with the token that serve --http shows."
        return report.warning(f"{shown} is reached without a bearer token.", fix)
    return report.ok(f"{shown}, bearer token ***")


def _command(report: Report, command: str, expands: bool) -> Iterator[Check]:
    whole = "Write the whole path of nnunet-mcp; `command -v nnunet-mcp` shows it."
    if WINDOWS.search(command):
        yield report.problem(
            f"{command!r} is a Windows path; nnunet-mcp runs on Linux and macOS.",
            "On Windows let the client start it in WSL: command wsl, with /path/to/nnunet-mcp among args.",
        )
    elif _unexpanded(command, expands) or command.startswith("~"):
        yield report.problem(f"nobody expands {command!r}: no shell reads it.", whole)
    elif " " in command and shutil.which(command) is None:
        fix = "Put only the program into command, and each argument into args."
        yield report.problem(f"there is no program {command!r}.", fix)
    elif "/" in command and not Path(command).is_absolute():
        yield report.problem(f"{command!r} is relative: clients start servers in other folders.", whole)
    elif shutil.which(command) is None:
        yield report.problem(f"there is no program {command!r}.", whole)
    elif "/" not in command:
        fix = f"Write {shutil.which(command)}: clients that are no terminal have another PATH."
        yield report.warning(f"{command!r} is found only through PATH.", fix)


def _environment(report: Report, expands: bool) -> Iterator[Check]:
    given = report.entry.content.get("env")
    if given is not None and not isinstance(given, dict):
        yield report.problem("env is no table of names and values.", 'Write it as {"nnUNet_raw": "/data/nnUNet_raw"}.')
        return
    environment = report.entry.environment
    for name, value in environment.items():
        if name in PATHS:
            yield from _folder(report, name, value, expands)
    yield from _misspelt(report, environment)
    missing = [name for name in FOLDERS if name not in environment]
    if missing and "NNUNET_MCP_DATA" not in environment:
        fix = "Add them to env: clients hand nothing of your shell's environment on."
        yield report.warning(f"{', '.join(missing)} not set; folders under ~/nnunet would be used.", fix)


def _folder(report: Report, name: str, value: str, expands: bool) -> Iterator[Check]:
    if WINDOWS.search(value):
        yield report.problem(f"{name} ({value}) is a Windows path.", "Write it as WSL has it, e.g. /mnt/c/data.")
    elif _unexpanded(value, expands):
        yield report.problem(f"nobody expands the $ in {name} ({value}).", "Write the whole path.")
    elif BRACED.search(value):
        return
    elif value.startswith("~"):
        fix = "Write the whole path: nnunet-mcp expands ~, nnU-Net's own commands do not."
        yield report.warning(f"{name} ({value}) starts with ~.", fix)
    elif not Path(value).is_absolute():
        yield report.problem(f"{name} ({value}) is relative: clients start servers elsewhere.", "Write the whole path.")
    elif not Path(value).is_dir():
        fix = "Correct it if it is a slip, or make the folder."
        yield report.problem(f"{name} ({value}) does not exist.", fix)
    elif not os.access(value, os.W_OK):
        yield report.problem(f"{name} ({value}) cannot be written.", "Make it writable, or name another folder.")


def _unexpanded(value: str, expands: bool) -> bool:
    return "$" in (BRACED.sub("", value) if expands else value)


def _misspelt(report: Report, environment: dict[str, str]) -> Iterator[Check]:
    known = [*OF_NNUNET, *SETTINGS.values()]
    by_lower = {word.lower(): word for word in known}
    for name in environment:
        near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.8)
        meant = OF_VERSION_1.get(name) or (by_lower[near[0]] if near else None)
        if name not in known and meant is not None:
            yield report.problem(f"nobody reads {name}.", f"Write {meant} instead.")

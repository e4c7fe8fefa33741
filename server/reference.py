"""The tables of the README, generated from the code: `python -m nnunet_mcp.server.reference README.md`."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from ..runs.settings import Settings, variable
from ..schemas.requests import TrainingCall
from .catalogue import CATALOGUE
from .terminal.codes import MEANING
from .terminal.commands import COMMANDS, usage
from .terminal.phrases import flag


def parameter_table() -> str:
    """Every parameter of nnunet_training with its default."""
    schema = TrainingCall.model_json_schema()["properties"]
    lines = ["| parameter | default | meaning |", "|---|---|---|"]
    for name, field in TrainingCall.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default!r}`".replace("'", '"')
        lines.append(f"| `{name}` | {default} | {_cell(schema[name].get('description', ''))} |")
    return "\n".join(lines)


def tool_table() -> str:
    """Every tool."""
    lines = ["| tool | what it does |", "|---|---|"]
    return "\n".join(lines + [f"| `{entry.name}` | {_cell(entry.description)} |" for entry in CATALOGUE])


def settings_table() -> str:
    """Every environment variable."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        lines.append(f"| `{variable(name, field)}` | {default} | {_cell(field.description or '')} |")
    return "\n".join(lines)


def command_table() -> str:
    """Every subcommand of the terminal with its flags."""
    lines = ["| command | what it does | options |", "|---|---|---|"]
    for name, command in COMMANDS.items():
        options = [flag(field) for field in command.model.model_fields if field not in command.words]
        options += ["--watch"] * bool(command.watch) + ["--json"]
        told = ", ".join(f"`{option}`" for option in options)
        lines.append(f"| `{usage(name)}` | {_cell(command.help)} | {told} |")
    return "\n".join(lines)


def code_table() -> str:
    """Every exit code of the subcommands."""
    lines = ["| exit code | meaning |", "|---|---|"]
    return "\n".join(lines + [f"| {code.value} | {_cell(text)} |" for code, text in MEANING.items()])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


SECTIONS: dict[str, Callable[[], str]] = {
    "parameters": parameter_table,
    "tools": tool_table,
    "settings": settings_table,
    "commands": command_table,
    "exit codes": code_table,
}


def renew(text: str) -> str:
    """The document with every generated section as the code has it now."""
    for name, make in SECTIONS.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, make=make: f"{match[1]}{make()}\n{match[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(renew(document.read_text(encoding="utf-8")), encoding="utf-8")

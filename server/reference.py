"""Tables of the documents, generated from the code: `python -m nnunet_mcp.server.reference README.md docs/*.md`."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from ..schemas.changes.options import OPTIONS
from ..schemas.changes.table import CHANGES
from ..schemas.training import TrainingCall
from ..settings import Settings, variable
from ..texts import for_agents
from ..tools import TOOLS
from ..tools.data.case_checks import Kind
from ..tools.reference import failures, run_folder_tree
from .cli import listed
from .terminal.codes import MEANING
from .terminal.commands import COMMANDS, own_flags, request_of, usage
from .terminal.configure import CLIENTS
from .terminal.spelling import flag


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
    return "\n".join(lines + [f"| `{tool.name}` | {_cell(tool.description)} |" for tool in TOOLS])


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
    for name, help_text, parser in listed():
        typed, options = _of_a_tool(name) if name in COMMANDS else _without_tool(parser)
        told = ", ".join(f"`{option}`" for option in options)
        lines.append(f"| `{typed}` | {_cell(help_text)} | {told} |")
    return "\n".join(lines)


def _of_a_tool(name: str) -> tuple[str, list[str]]:
    """How the command is called, and its flags."""
    words = COMMANDS[name][0].words
    return usage(name), [
        *(flag(field) for field in request_of(name).model_fields if field not in words),
        *own_flags(name),
    ]


def _without_tool(parser: ArgumentParser) -> tuple[str, list[str]]:
    """The same of a command that has no tool."""
    actions = [action for action in parser._actions if action.dest != "help"]
    words = [(str(one.metavar or one.dest.upper()), one.required) for one in actions if not one.option_strings]
    typed = [parser.prog, *(word if required else f"[{word}]" for word, required in words)]
    return " ".join(typed), [action.option_strings[-1] for action in actions if action.option_strings]


def code_table() -> str:
    """Every exit code of the subcommands."""
    lines = ["| exit code | meaning |", "|---|---|"]
    return "\n".join(lines + [f"| {code.value} | {_cell(text)} |" for code, text in MEANING.items()])


def client_table() -> str:
    """Every client and where its entry belongs."""
    lines = ["| client | command | then |", "|---|---|---|"]
    return "\n".join(lines + [f"| {c.title} | `nnunet-mcp client {name}` | {c.where} |" for name, c in CLIENTS.items()])


def failure_table() -> str:
    """Every failure that is recognised in a log."""
    lines = ["| failure | cause | what to do |", "|---|---|---|"]
    for name, cause, remedy in failures():
        lines.append(f"| {name} | {_cell(_blanks(for_agents(cause)))} | {_cell(_blanks(for_agents(remedy)))} |")
    return "\n".join(lines)


def change_table() -> str:
    """Every name of `changes`."""
    lines = ["| name | values | meaning | carried out by |", "|---|---|---|---|"]
    for row in CHANGES.values():
        who = (
            "the planner" if row.of_plans else f"`{row.sets or row.takes}`" if row.sets or row.takes else "the trainer"
        )
        lines.append(f"| `{row.name}` | {_cell(row.values.said)} | {_cell(row.meaning)} | {who} |")
    return "\n".join(lines)


def option_table() -> str:
    """Every name of `options` of a prediction."""
    lines = ["| name | values | meaning |", "|---|---|---|"]
    for row in OPTIONS.values():
        lines.append(f"| `{row.name}` | {_cell(row.values.said)} | {_cell(row.meaning)} |")
    return "\n".join(lines)


def fault_table() -> str:
    """Every fault of a single case that a look names."""
    weights = {"breaks": "refused", "falsifies": "problem", "odd": "warning"}
    lines = ["| found in a case | | what to do |", "|---|---|---|"]
    for kind in Kind:
        lines.append(f"| {_cell(kind.words)} | {weights[kind.weight]} | {_cell(for_agents(kind.fix))} |")
    return "\n".join(lines)


def run_folder() -> str:
    """The tree in the docstring of runs/layout.py."""
    return f"```text\n{run_folder_tree()}\n```"


def _blanks(text: str) -> str:
    """Show named groups of a pattern by their names."""
    return re.sub(r"\{(\w+)\}", r"*\1*", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


SECTIONS: dict[str, Callable[[], str]] = {
    "parameters": parameter_table,
    "tools": tool_table,
    "settings": settings_table,
    "commands": command_table,
    "exit codes": code_table,
    "clients": client_table,
    "failures": failure_table,
    "faults": fault_table,
    "run folder": run_folder,
    "changes": change_table,
    "options": option_table,
}


def renew(text: str) -> str:
    """The document with every generated section made anew from the code."""
    for name, make in SECTIONS.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, make=make: f"{match[1]}{make()}\n{match[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    for document in map(Path, sys.argv[1:]):
        document.write_text(renew(document.read_text(encoding="utf-8")), encoding="utf-8")

"""Calls as they are typed in the terminal: `nnunet-mcp logs d004-2d-f0-k7m3 --lines 50`, `--no-ensembling`."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ...calls import Call, render
from ...tools import BY_NAME
from ...tools.tool import Command

PROGRAM = "nnunet-mcp"
# What an assistant is to ask the person, who reads it here.
ASK = re.compile(r"\b([Aa])sk (?:the person )?whether\b")
DECIDE = {"A": "Decide whether", "a": "decide whether"}


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def opposite(name: str) -> str:
    """The flag that switches a field off."""
    return flag(name.removeprefix("no_") if name.startswith("no_") else f"no_{name}")


def shown(name: str) -> str:
    """How a field that needs no flag is named in a usage line."""
    return name.removeprefix("dataset_").upper()


def spelled(text: str) -> str:
    """The text with every call in it as it is typed, and said to the person who reads it there."""
    return ASK.sub(lambda found: DECIDE[found[1]], render(text, in_terminal))


def in_terminal(one: Call) -> str:
    """A call as it is typed. A tool that has no subcommand is named as one for a chat."""
    if one.tool is None:
        return " ".join(word for name, value in one.arguments.items() for word in _option(name, value))
    tool = BY_NAME.get(one.tool)
    if tool is None or tool.command is None:
        return f"{one.tool} (in a chat)"
    return " ".join([PROGRAM, tool.command.name, *_words(tool.command, one.arguments)])


def _words(command: Command, arguments: dict[str, Any]) -> Iterator[str]:
    """The values that need no flag, up to the first that is missing, then the flags."""
    rest = dict(arguments)
    for name in command.words:
        if name not in rest:
            break
        value = rest.pop(name)
        yield shown(name) if value is None else _quoted(value)
    for name, value in rest.items():
        if name == command.waits:
            yield "--watch"
        else:
            yield from _option(name, value, placeholder=value is None)


def _option(name: str, value: Any, *, placeholder: bool = False) -> Iterator[str]:
    if isinstance(value, bool):
        yield flag(name) if value else opposite(name)
    elif isinstance(value, list | tuple):
        yield from (flag(name), *map(_quoted, value))
    elif value is not None and _quoted(value).startswith("-"):
        yield f"{flag(name)}={_quoted(value)}"
    else:
        yield flag(name)
        if value is not None or placeholder:
            yield name.upper() if value is None else _quoted(value)


def _quoted(value: Any) -> str:
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))


def spelled_for(model: type[BaseModel], text: str) -> str:
    """Descriptions and rules of a request with `field=value` written as a flag and a tool as a command.

    `schemas/` cannot use `call()`, so fields and tools in its texts are found by their exact names.
    """
    fields = "|".join(sorted(model.model_fields, key=len, reverse=True))
    text = re.sub(rf"\b({fields})=('[^']*'|[\w.-]*\w)", lambda found: _assigned(found[1], found[2]), text)
    for name, tool in BY_NAME.items():
        if tool.command is not None:
            text = re.sub(rf"\b{name}\b", f"{PROGRAM} {tool.command.name}", text)
    snakes = "|".join(name for name in model.model_fields if "_" in name)
    return re.sub(rf"(?<![\w./-])({snakes})(?![\w/=-]|\.\w)", lambda found: flag(found[1]), text) if snakes else text


def _assigned(name: str, value: str) -> str:
    known = {"true": True, "True": True, "false": False, "False": False}
    return " ".join(_option(name, known.get(value, value.strip("'"))))

"""Calls and arguments inside sentences, as data: each face says them in its own words.

Errors, notes and next steps are sentences. Where one names a tool or an argument, it holds a `Call`, written as
`⟦{"tool": "nnunet_progress", "arguments": {"run_id": "d004-2d-f0-k7m3"}}⟧` until a face renders it: MCP and the page as
`nnunet_progress(run_id='d004-2d-f0-k7m3')`, the terminal as `nnunet-mcp progress d004-2d-f0-k7m3`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

# Characters that hardly occur in the name of a case, folder or file; inside values JSON escapes them.
CARRIED = re.compile(r"⟦(\{[^⟦⟧]*\})⟧")


@dataclass(frozen=True)
class Call:
    """A tool with arguments, or arguments alone ("with overwrite=true"); an argument with the value None is only named.

    In an f-string it becomes text that `render` finds again.
    """

    tool: str | None
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"⟦{json.dumps({'tool': self.tool, 'arguments': self.arguments})}⟧"


def call(tool: str, /, **arguments: Any) -> Call:
    """A tool with these arguments; without arguments only the tool's name."""
    return Call(tool, arguments)


def argument(**arguments: Any) -> Call:
    """Arguments to add to the call that was made: argument(overwrite=True)."""
    return Call(None, arguments)


def render(text: str, say: Callable[[Call], str]) -> str:
    """The text with each call in it replaced by what `say` makes of it."""
    return CARRIED.sub(lambda found: _said(found, say), text)


def calls_in(text: str) -> Iterator[Call]:
    """The calls and arguments in a text, in its order."""
    yield from filter(None, map(_carried, CARRIED.finditer(text)))


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text in parts that must not be cut: each call as it is stored and as agents see it, and the rest."""
    end = 0
    for found in CARRIED.finditer(text):
        if found.start() > end:
            yield text[end : found.start()], text[end : found.start()]
        yield found[0], _said(found, in_mcp)
        end = found.end()
    if end < len(text):
        yield text[end:], text[end:]


def _said(found: "re.Match[str]", say: Callable[[Call], str]) -> str:
    """Render one match. Text from a stranger's file or log that only looks like a call stays as it is."""
    one = _carried(found)
    return found[0] if one is None else say(one)


def _carried(found: "re.Match[str]") -> Call | None:
    try:
        one = json.loads(found[1])
        known = isinstance(one["arguments"], dict) and (one["tool"] is None or isinstance(one["tool"], str))
    except (ValueError, KeyError):
        return None
    return Call(one["tool"], one["arguments"]) if known else None


def in_mcp(one: Call) -> str:
    """As agents call it: nnunet_progress(run_id='…', wait_s=30), or overwrite=true."""
    said = ", ".join(name if value is None else f"{name}={_value(value)}" for name, value in one.arguments.items())
    if one.tool is None:
        return said
    return f"{one.tool}({said})" if said else one.tool


def _value(value: Any) -> str:
    """Texts in single quotes, everything else as JSON."""
    if isinstance(value, str) and "'" not in value and "\\" not in value:
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False)

"""Calls in sentences: every one names a tool with its arguments, is data where it is written, and can be typed."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel, ValidationError

from nnunet_mcp.calls import CARRIED, Call
from nnunet_mcp.server.cli import _parser
from nnunet_mcp.server.terminal.commands import COMMANDS, own_flags, request_of
from nnunet_mcp.server.terminal.flags import given
from nnunet_mcp.server.terminal.spelling import flag, in_terminal, spelled_for
from nnunet_mcp.tools import BY_NAME, TOOLS
from nnunet_mcp.tools.helping import HELP
from nnunet_mcp.tools.tool import Tool

ROOT = Path(__file__).parents[2]
FIELDS = {name for tool in TOOLS for name in tool.request.model_fields}
OF_COMMANDS = {name for command in COMMANDS for name in request_of(command).model_fields}
NAMES = "|".join(BY_NAME)
WRITTEN = re.compile(rf"\b(?:{NAMES})\b(?!:)|(?<![\w./-])(?:{'|'.join(FIELDS)})=(?:true|false|[\d'\"\[])")
# What is no call: a declaration's own texts, which every client gets as they are, and the Python function.
EXCEPT = ("tools/__init__.py", "tools/*/__init__.py", "tools/training/blocking.py")
PLAUSIBLE: dict[str, Any] = {
    "run_id": "d004-2d-f0-k7m3",
    "like": "d004-2d-f0-k7m3",
    "run_ids": ["d004-2d-f0-k7m3", "d004-2d-f1-k7m3"],
    "dataset_id": 4,
    "name": "Hippocampus",
    "images": "/data/a folder",
    "start": 3,
    "wait_s": 25,
    "num_gpus": 1,
}


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def uses() -> list[tuple[str, str | None, dict[str, Any]]]:
    """Every call() and argument() in the source, with its place; values that are not constants are plausible ones."""
    found = []
    for path, tree in sources("tools", "runs", "nnunet", "worker", "server"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("call", "argument"):
                if node.func.id == "call" and not (node.args and isinstance(node.args[0], ast.Constant)):
                    continue  # slurm/commands.py has a call, too
                tool = str(node.args[0].value) if node.func.id == "call" else None  # type: ignore[attr-defined]
                given = {one.arg: _value(one.arg, one.value) for one in node.keywords if one.arg is not None}
                if tool is None or tool.startswith("nnunet_"):
                    found.append((f"{path}:{node.lineno}", tool, given))
    return found


def _value(name: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return PLAUSIBLE.get(name, "plausible")


USES = uses()


def parsed(line: str) -> dict[str, Any]:
    """What the command line understands of `nnunet-mcp …`, by field."""
    program, name, *words = shlex.split(line)
    assert program == "nnunet-mcp" and name in COMMANDS, line
    arguments, rest = _parser(name).parse_known_args([name, *words])
    return given(arguments, rest, request_of(name), COMMANDS[name][0].words, tuple(own_flags(name)))


def test_the_source_has_many_calls() -> None:
    assert len(USES) > 100 and len({tool for _, tool, _ in USES if tool}) > 12


@pytest.mark.parametrize(("place", "tool", "arguments"), USES, ids=[place for place, *_ in USES])
def test_a_call_names_a_tool_and_fields_of_it_and_can_be_typed(
    place: str, tool: str | None, arguments: dict[str, Any]
) -> None:
    if tool is None:
        assert arguments.keys() <= OF_COMMANDS
        askers = [name for name in COMMANDS if arguments.keys() <= request_of(name).model_fields.keys()]
        assert askers, "no command takes all of these arguments"
        line = f"nnunet-mcp {askers[0]} {in_terminal(Call(None, _filled(arguments)))}"
        assert parsed(line).keys() == arguments.keys()
        return
    assert tool in BY_NAME and arguments.keys() <= BY_NAME[tool].request.model_fields.keys()
    command = BY_NAME[tool].command
    if command is None:
        return
    for one in (Call(tool, arguments), Call(tool, _filled(arguments))):
        assert parsed(in_terminal(one)).keys() == {name for name in arguments if name != command.waits}


def _filled(arguments: dict[str, Any]) -> dict[str, Any]:
    """With a value for what is only named; of a switch that is only named the flag is enough."""
    booleans = {name for tool in TOOLS for name, field in tool.request.model_fields.items() if field.annotation is bool}
    return {
        name: value if value is not None else (True if name in booleans else PLAUSIBLE.get(name, "plausible"))
        for name, value in arguments.items()
    }


def _docstrings(tree: ast.Module) -> set[int]:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, holders) and node.body]
    return {id(one.value) for one in bodies if isinstance(one, ast.Expr)}


def _inside_calls(tree: ast.Module) -> set[int]:
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") in ("call", "argument")]
    return {id(part) for one in calls for part in ast.walk(one)}


@pytest.mark.parametrize("room", ["tools", "runs", "nnunet", "worker"])
def test_no_sentence_names_a_tool_or_a_value_of_an_argument_otherwise(room: str) -> None:
    found = []
    for path, tree in sources(room):
        if any(Path(path).match(pattern) for pattern in EXCEPT):
            continue
        data = _docstrings(tree) | _inside_calls(tree)
        for text in ast.walk(tree):
            if not (isinstance(text, ast.Constant) and isinstance(text.value, str)) or id(text) in data:
                continue
            if " " in text.value and WRITTEN.search(text.value):
                found.append(f"{path}:{text.lineno}: {text.value}")
    assert found == []


def test_the_rooms_below_the_tools_name_no_tool() -> None:
    named = {
        place.split(":")[0] for place, tool, _ in USES if tool and place.split("/")[0] in ("runs", "nnunet", "worker")
    }

    assert named == {"worker/steps/model_card.py"}, "the card is a document for people elsewhere"


def test_what_errors_are_about_has_its_help() -> None:
    about = set()
    for _, tree in sources("runs", "nnunet", "worker", "tools"):
        for node in ast.walk(tree):
            words = node.keywords if isinstance(node, ast.Call) else []
            about |= {
                part.value
                for word in words
                if word.arg == "about"
                for part in ast.walk(word.value)
                if isinstance(part, ast.Constant) and part.value
            }
    assert about == HELP.keys()


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
def test_a_declaration_fits_its_function(tool: Tool) -> None:
    hints = get_type_hints(tool.load())

    assert issubclass(tool.request, hints["request"]) and hints["return"] is tool.answer
    assert ("tell" in hints) == (tool.steps is not None)
    assert ("read_only" in hints) == tool.heeds_read_only and ("say" in hints) == tool.waits


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_in_a_requests_own_words_are_flags_of_the_command(name: str) -> None:
    model = request_of(name)
    texts = [spelled_for(model, field.description or "") for field in model.model_fields.values()]
    known = {flag(field) for field in model.model_fields} | set(own_flags(name))

    for text in texts:
        assert set(re.findall(r"(?<!\w)--[a-z][a-z-]*", text)) <= known, text
        assert not re.search(rf"\b(?:{NAMES})\b", text) or "dashboard" in text


def test_rules_of_a_request_are_told_in_flags() -> None:
    model: type[BaseModel] = request_of("plot")
    with pytest.raises(ValidationError) as refused:
        model.model_validate({"kind": "folds", "run_id": "a", "with_run_ids": ["b"], "output": "a.png"})

    assert "--with-run-ids is for --kind curves; --kind folds shows one run" in spelled_for(
        model, str(refused.value.errors()[0]["msg"])
    )


def test_a_carried_call_is_json() -> None:
    assert json.loads(CARRIED.findall(str(Call("nnunet_runs", {"status": "⟧"})))[0])["arguments"] == {"status": "⟧"}

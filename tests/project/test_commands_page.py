"""docs/commands.md has every command of nnU-Net, and its calls are ones that the tools take."""

import ast
import re
from importlib.metadata import entry_points
from pathlib import Path

from nnunet_mcp.tools import TOOLS

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")


def test_every_command_of_nnunet_has_a_line() -> None:
    commands = {script.name for script in entry_points(group="console_scripts") if script.name.startswith("nnUNetv2_")}
    assert commands
    assert {command for command in commands if not re.search(rf"{command}\b", PAGE)} == set()


def test_every_call_has_the_arguments_of_its_tool() -> None:
    takes = {tool.name: set(tool.request.model_fields) for tool in TOOLS}
    calls = re.findall(r"`(nnunet_\w+\([^`]*\))`", PAGE)
    assert len(calls) > 10
    for text in calls:
        node = ast.parse(text.replace("=true", "=True"), mode="eval").body
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        assert {str(given.arg) for given in node.keywords} <= takes[node.func.id], text

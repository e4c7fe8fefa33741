"""The documents are true: tables, links, code, configuration files and versions are what the code has."""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from nnunet_mcp import __version__
from nnunet_mcp.server.reference import renew
from nnunet_mcp.settings import Settings, variable
from tests.kit.light import needed
from tests.kit.terminal import typed

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
SETTINGS = {variable(*item) for item in Settings.model_fields.items()}
each_document = pytest.mark.parametrize("name", TEXTS)


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@each_document
def test_the_generated_tables_are_as_the_code_has_them(name: str) -> None:
    assert renew(TEXTS[name]) == TEXTS[name], "run `make docs`"


def test_the_table_of_commands_has_each_that_the_help_lists_and_every_option_of_it() -> None:
    rows = dict(re.findall(r"^\| `nnunet-mcp ([\w-]+)[^|]*(\|.*)$", TEXTS["docs/terminal.md"], re.MULTILINE))

    assert list(rows) == re.findall(r"^    ([a-z][\w-]*)", typed("--help").stdout, re.MULTILINE)
    assert len(rows) > 25
    for name in ("serve", "client", "demo", "watch", "dashboard", "notify", "forget"):
        options = re.findall(r"^  (--[\w-]+)", typed(name, "--help").stdout, re.MULTILINE)
        assert options == re.findall(r"`(--[\w-]+)`", rows[name])


@each_document
def test_a_call_in_a_table_is_said_as_agents_say_it(name: str) -> None:
    assert "⟦" not in TEXTS[name]


@each_document
def test_every_link_inside_the_project_leads_somewhere(name: str) -> None:
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", TEXTS[name]) if "://" not in link]
    targets = [((ROOT / name).parent / path if path else ROOT / name, anchor) for path, _, anchor in links]
    assert [path for path, _ in targets if not path.exists()] == []
    assert [(path.name, anchor) for path, anchor in targets if anchor and anchor not in _anchors(path)] == []


def _anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_every_file_of_the_project_that_is_named_exists(name: str) -> None:
    named = re.findall(
        r"`((?:runs|tools|server|schemas|worker|tests|docs|benchmarks|bundle|examples)/[\w./-]*)`", TEXTS[name]
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


@each_document
def test_every_test_that_is_named_exists(name: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXTS[name])
    assert [one for path, one in named if f"def {one}(" not in (ROOT / path).read_text(encoding="utf-8")] == []


def test_each_kind_of_fault_that_agents_met_has_its_test() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| `tests/", TEXTS["docs/agents.md"], re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 23))


@each_document
def test_every_variable_of_ours_that_is_named_exists(name: str) -> None:
    assert set(re.findall(r"\bNNUNET_MCP_[A-Z_]+[A-Z]\b", TEXTS[name])) <= SETTINGS


@each_document
def test_blocks_of_code_and_configuration_can_be_read(name: str) -> None:
    for block in blocks(TEXTS[name], "python"):
        ast.parse(block)
    for block in blocks(TEXTS[name], "json"):
        json.loads(block)
    for block in blocks(TEXTS[name], "toml"):
        tomllib.loads(block)


def shell_lines(text: str) -> list[list[str]]:
    """The commands of all sh blocks, as words without comments and output redirections."""
    joined = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


@each_document
def test_commands_that_are_shown_exist_with_their_options(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in shell_lines(TEXTS[name]):
        if words[0] == "make":
            assert all(f"\n{target}:" in makefile for target in words[1:] if "=" not in target)
        if words[0].endswith("nnunet-mcp"):
            told = _help(words[1])
            assert [flag for flag in words[2:] if flag.startswith("--") and flag not in told] == []
        if words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file()


def _help(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nnunet_mcp", command, "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_packages_of_a_light_server_are_those_of_the_bundle() -> None:
    [line] = [words for words in shell_lines(TEXTS["docs/clients.md"]) if "anyio>=4.5" in words]
    assert line[line.index("install") + 1 :] == needed()


def test_one_version_is_told_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {project["version"], citation["version"], registry()["version"]} == {__version__}
    assert f"## {__version__}" in TEXTS["CHANGELOG.md"]


def registry() -> dict[str, Any]:
    """What the registry of MCP servers is told."""
    written: dict[str, Any] = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
    return written


def test_the_registrys_entry_keeps_its_rules() -> None:
    entry = registry()
    [package] = entry["packages"]

    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", entry["name"]) and len(entry["description"]) <= 100
    assert f"<!-- mcp-name: {entry['name']} -->" in TEXTS["README.md"]
    assert (package["registryType"], package["identifier"], package["version"]) == ("pypi", "nnunet-mcp", __version__)
    assert {given["name"] for given in package["environmentVariables"]} <= SETTINGS

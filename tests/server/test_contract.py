"""What clients see: every tool's name, words and schemas, and a server that survives how clients begin and end.

UPDATE_SNAPSHOTS=1 renews tests/snapshots.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.types import Tool

from nnunet_mcp.schemas.training import TrainingCall
from nnunet_mcp.server.app import create_server
from nnunet_mcp.server.portable import SAID_ELSEWHERE
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools import TOOLS
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask
from tests.kit.wire import INITIALIZE, Wire

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
NAMES = [tool.name for tool in TOOLS]
DISCOVER = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}

# They answer with an image and one line of text; hosts show a model only what is structured, where something is.
PICTURES = ("nnunet_plot",)


@pytest.fixture(scope="module")
def tools() -> dict[str, Tool]:
    """Every tool as a client lists it."""

    async def listed() -> list[Tool]:
        async with Client(create_server(Settings())) as client:
            return list((await client.list_tools()).tools)

    return {tool.name: tool for tool in anyio.run(listed)}


def test_the_tools_come_in_the_order_of_the_catalogue(tools: dict[str, Tool]) -> None:
    assert list(tools) == NAMES
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_is_what_its_snapshot_says(tools: dict[str, Tool], name: str) -> None:
    path = SNAPSHOTS / f"{name}.json"
    found = tools[name].model_dump(mode="json", by_alias=True, exclude_none=True)
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.write_text(text, encoding="utf-8")

    assert path.is_file(), "no snapshot: look at the tool, then run the tests with UPDATE_SNAPSHOTS=1"
    assert json.loads(path.read_text(encoding="utf-8")) == found


def test_there_is_no_snapshot_without_its_tool() -> None:
    assert sorted(path.stem for path in SNAPSHOTS.glob("*")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_input_schema_is_flat_and_portable(tools: dict[str, Tool], name: str) -> None:
    schema = tools[name].input_schema

    assert schema["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf", "not", "if"} & set(schema)
    for node in nodes(schema):
        assert not {"$ref", "$defs", "const", "discriminator", "patternProperties"} & set(node)
        assert node.get("type") != "null" and not isinstance(node.get("type"), list)
        assert node.get("default", "something") is not None


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object in a schema, not those that are names of properties or values."""
    for node in schema if isinstance(schema, list) else [schema]:
        if isinstance(node, dict):
            yield node
            for key, value in node.items():
                yield from nodes(list(value.values()) if key == "properties" else value)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_says_what_it_is(tools: dict[str, Tool], name: str) -> None:
    schema = tools[name].input_schema
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})

    if name == "nnunet_preflight":
        assert "same arguments" in (tools[name].description or "")
        own = properties.keys() - TrainingCall.model_fields
        properties = {parameter: properties[parameter] for parameter in own}
    [request] = [tool.request for tool in TOOLS if tool.name == name]
    for parameter, field in properties.items():
        declared = request.model_fields[parameter]
        assert field.get("description") or declared.description in SAID_ELSEWHERE, parameter
        omission = declared.default is not None or "Omitted" in (declared.description or "")
        assert omission, f"{parameter}: what if it is left out?"


@pytest.mark.parametrize("name", NAMES)
def test_every_tool_has_a_title_all_hints_and_an_output_schema(tools: dict[str, Tool], name: str) -> None:
    tool = tools[name]
    hints = tool.annotations

    assert tool.title and tool.description and hints is not None
    assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
    assert not (hints.read_only_hint and hints.destructive_hint)
    assert hints.destructive_hint or "overwrite" not in tools[name].input_schema["properties"] or hints.read_only_hint
    if name in PICTURES:
        assert tool.output_schema is None
    else:
        assert tool.output_schema is not None and tool.output_schema["type"] == "object"
        assert "next_step" in tool.output_schema["properties"]


@pytest.mark.parametrize("name", NAMES)
def test_every_tool_refuses_an_argument_that_it_does_not_know(settings: Settings, name: str) -> None:
    with pytest.raises(ToolRefused, match="nonsense: unknown argument"):
        ask(settings, name, run_id="d001-2d-f0-tttt", dataset_id=1, nonsense=1)


@pytest.mark.parametrize("null", [None, "null", ["null"], [None]], ids=str)
def test_null_is_as_if_left_out_for_every_argument_of_every_tool(
    settings: Settings, tools: dict[str, Tool], null: Any
) -> None:
    async def told(client: Client, name: str, given: dict[str, Any]) -> Any:
        result = await client.call_tool(name, given)
        return getattr(result.content[0], "text", "") if result.is_error else sorted(result.structured_content or {})

    async def compare() -> None:
        async with Client(create_server(settings)) as client:
            for name in NAMES:
                nulls = dict.fromkeys(tools[name].input_schema["properties"], null)
                assert await told(client, name, nulls) == await told(client, name, {}), name

    anyio.run(compare)


@pytest.mark.parametrize(
    "name", ["nnunet_progress", "nnunet_logs", "nnunet_results", "nnunet_cancel", "nnunet_dashboard"]
)
@pytest.mark.parametrize("run_id", ["d001-2d-f0-none", "../runs", "-x", "a/b", "", "x" * 200, "a\n"])
def test_a_run_that_does_not_exist_is_refused_by_every_tool(settings: Settings, name: str, run_id: str) -> None:
    with pytest.raises(ToolRefused, match=r"run_id: String should|There is no run .*There are no runs yet"):
        ask(settings, name, run_id=run_id)


def test_an_empty_workspace_says_what_to_do_first(settings: Settings) -> None:
    assert "nnunet_prepare_dataset" in ask(settings, "nnunet_datasets")["next_step"]
    assert "nnunet_training" in ask(settings, "nnunet_runs")["next_step"]
    with pytest.raises(ToolRefused, match=r"no dataset 050.*nnunet_prepare_dataset"):
        ask(settings, "nnunet_training", dataset_id=50)


@pytest.fixture
def wire(settings: Settings) -> Iterator[Wire]:
    found = Wire()
    yield found
    found.process.kill()
    found.process.communicate()


def test_a_probe_before_initialize_does_no_harm_and_the_end_of_stdin_is_the_end(wire: Wire) -> None:
    assert "tools" in wire.request("server/discover", DISCOVER)["result"]["capabilities"]
    assert "error" in wire.request("server/discover")
    assert wire.request("initialize", INITIALIZE)["result"]["serverInfo"]["name"] == "nnunet-mcp"
    wire.line('{"jsonrpc": "2.0", "method": "notifications/initialized"}')
    assert [tool["name"] for tool in wire.request("tools/list")["result"]["tools"]] == NAMES

    rest, _ = wire.process.communicate(timeout=10)

    assert (wire.process.returncode, rest) == (0, "")


def test_a_client_of_the_new_protocol_needs_no_initialize(wire: Wire) -> None:
    wire.request("server/discover", DISCOVER)

    answer = wire.request("tools/list", DISCOVER)

    assert [tool["name"] for tool in answer["result"]["tools"]] == NAMES


def test_lines_that_are_no_messages_do_not_end_the_server(wire: Wire) -> None:
    wire.request("initialize", INITIALIZE)

    for text in (
        "",
        "not json",
        "{}",
        '{"jsonrpc": "2.0", "id": 77}',
        "\x00",
        '{"jsonrpc": "2.0", "method": "nothing"}',
    ):
        wire.line(text)

    assert wire.request("ping") == {"jsonrpc": "2.0", "id": wire.number, "result": {}}


def test_a_tool_call_over_the_wire_is_complete_in_its_structured_content(wire: Wire) -> None:
    wire.request("initialize", INITIALIZE)
    wire.line('{"jsonrpc": "2.0", "method": "notifications/initialized"}')

    result = wire.request("tools/call", {"name": "nnunet_runs", "arguments": {}})["result"]

    assert result["structuredContent"]["runs"] == []
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]

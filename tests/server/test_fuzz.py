"""Every tool, called with what its schema allows and with what it does not, on one real server over stdio.

FUZZ_CALLS sets how many calls are made (default 300).
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings, strategies as st
from mcp.types import CallToolResult, Tool

from tests.chaos import stand_in_worker
from tests.kit.lab import Lab
from tests.kit.phantom import write_phantom

CALLS = int(os.environ.get("FUZZ_CALLS", "300"))
CALL_S = 60
HOSTILE: list[Any] = [
    *(None, True, 0, -1, 10**30, 0.5, float("1e308"), "", " ", "-rf", "--help", "..", "../../etc/passwd", "/dev/zero"),
    *("\x00", "a\nb", "𝒟ice\u202e", "x" * 10_000, "%s%n", "$(id)", "`id`", "(a+)+$", "[", "null", "0", "all", "999"),
    *([], {}, ["a"], {"a": {"b": [None]}}, "nan", "1e400"),
]
# Stands for one of the runs that exist when the call is made.
SOME_RUN = "some-run-"
Session = Callable[[str, dict[str, Any]], CallToolResult]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A dataset, a model being made now and then by a played worker, and a folder that nobody may touch."""
    folder = tmp_path_factory.mktemp("fuzz")
    extra = {"NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__, "STAND_IN_PACE_S": "0.01"}
    lab = Lab(folder / "work", {**extra, "NNUNET_MCP_ALLOWED_DIRS": str(folder / "allowed")})
    write_phantom(lab.folder / "raw" / "Dataset071_Played", cases=5, shape=(4, 4, 4))
    write_phantom(folder / "allowed" / "Dataset072_Source", cases=5, shape=(4, 4, 4))
    write_phantom(folder / "forbidden" / "Dataset073_Secret", cases=1, shape=(4, 4, 4))
    os.mkfifo(folder / "fifo")
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def tools(lab: Lab) -> list[Tool]:
    async def once() -> list[Tool]:
        async with lab.client() as client:
            return list((await client.list_tools()).tools)

    return anyio.run(once)


@pytest.fixture(scope="module")
def session(lab: Lab) -> Iterator[Session]:
    """One client for all calls, whose every call has a bound in time."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(lab.client()) as client:

        async def bounded(name: str, arguments: dict[str, Any]) -> CallToolResult:
            with anyio.fail_after(CALL_S):
                return await client.call_tool(name, arguments)

        yield lambda name, arguments: portal.call(bounded, name, arguments)


def likely(name: str, schema: dict[str, Any], lab: Lab) -> st.SearchStrategy[Any]:
    """Values that a parameter may well take."""
    known: dict[str, list[Any]] = {
        "dataset_id": [71, "071", "Dataset071_Played", 72, 5],
        "run_id": [f"{SOME_RUN}{number}" for number in range(20)],
        "source": [
            str(lab.folder.parent / part) for part in ("allowed/Dataset072_Source", "forbidden", "allowed/fifo")
        ],
        "like": [f"{SOME_RUN}{number}" for number in range(5)],
        "model": ["Dataset071_Played", str(lab.folder / "results"), str(lab.folder.parent / "forbidden")],
        "zip": [str(lab.folder.parent / "fifo"), str(lab.folder / "raw"), str(lab.folder.parent / "forbidden")],
        "wait_s": [0, 0.2, 50.5],
        "stage": ["preprocess", "train_fold_0", "cross_validation"],
        "device": ["cpu", "cuda"],
        "pretrained_weights": [str(lab.folder / "results"), str(lab.folder.parent / "forbidden")],
        "pattern": ["epoch", ".*"],
    }
    if name in known:
        return st.sampled_from(known[name])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("type") == "boolean":
        return st.booleans()
    if schema.get("type") in ("integer", "number"):
        return st.integers(schema.get("minimum", -5), schema.get("maximum", 500))
    return st.sampled_from(["name", "2d", "nnUNetPlans"])


def arguments_of(tool: Tool, lab: Lab) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments for the tool: mostly likely ones, now and then a hostile value or one too many."""
    properties: dict[str, Any] = tool.input_schema["properties"]
    # A wait of many seconds is allowed, and would only make the test slow.
    hostile = {name: st.sampled_from(HOSTILE if name != "wait_s" else ["", -1, None]) for name in properties}
    given_: dict[str, Any] = {
        name: st.one_of(likely(name, schema, lab), likely(name, schema, lab), hostile[name])
        for name, schema in properties.items()
    }
    required = {name: given_.pop(name) for name in tool.input_schema.get("required", [])}
    named = st.fixed_dictionaries(required, optional=given_)
    stray = st.dictionaries(st.text(max_size=8), st.sampled_from(HOSTILE), max_size=2)
    return st.one_of(named, named, named, st.tuples(named, stray).map(lambda both: both[1] | both[0]), stray)


def with_a_run(arguments: dict[str, Any], lab: Lab) -> dict[str, Any]:
    """The arguments with a run that exists, where one is to be named."""
    named, runs = arguments.get("run_id"), sorted(lab.settings.state_dir.glob("runs/*"))
    if not (isinstance(named, str) and named.startswith(SOME_RUN) and runs):
        return arguments
    return {**arguments, "run_id": runs[int(named.removeprefix(SOME_RUN)) % len(runs)].name}


@pytest.mark.heavy
def test_no_call_ends_in_a_traceback_a_protocol_error_or_a_hang(lab: Lab, tools: list[Tool], session: Session) -> None:
    before = sorted(str(path) for path in (lab.folder.parent / "forbidden").rglob("*"))
    counts = {"answered": 0, "refused": 0}

    @settings(max_examples=CALLS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def each(data: st.DataObject) -> None:
        tool = data.draw(st.sampled_from(tools))
        result = session(tool.name, with_a_run(data.draw(arguments_of(tool, lab)), lab))
        text = " ".join(getattr(block, "text", "") for block in result.content)
        counts["refused" if result.is_error else "answered"] += 1
        assert "Traceback" not in text and text != f"Error executing tool {tool.name}"
        assert len(text) < 20_000

    each()
    print(counts)
    # Most calls are refused: a call has one to twenty arguments, and each may be hostile.
    assert counts["answered"] > CALLS / 50 and counts["refused"] > CALLS / 50
    assert sorted(str(path) for path in (lab.folder.parent / "forbidden").rglob("*")) == before

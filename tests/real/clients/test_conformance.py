"""The protocol's own conformance suite, on this server and, with its `tasks-*` scenarios, on its Tasks extension."""

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.kit.lab import Lab, free_port, until
from tests.real.clients.test_inspector import MODULES, NODE

pytestmark = pytest.mark.heavy
SUITE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
# Those that ask nothing of a server but to be one; the others call tools of the suite's own example server.
OLD = [
    "server-initialize",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
    "server-session-lifecycle",
    "server-sse-multiple-streams",
]
NEW = [
    "tools-list",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
    "caching",
    "http-header-validation",
    "sep-2164-resource-not-found",
    "server-sse-multiple-streams",
]
TASKS = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-mrtr-composition",
    "tasks-required-task-error",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
]


@pytest.fixture(autouse=True)
def installed() -> None:
    if not (NODE.is_file() and SUITE.is_file()):
        pytest.skip("the conformance suite is not installed: `make clients`")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("conformance"))


@pytest.fixture(scope="module")
def this_server(lab: Lab) -> Iterator[str]:
    yield from _serve("server", lab)


@pytest.fixture(scope="module")
def tasks_server(lab: Lab) -> Iterator[str]:
    yield from _serve("tasks", lab)


def _serve(what: str, lab: Lab) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.kit.conformance_app", what, str(port)]
    process = subprocess.Popen(command, env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/mcp"
    assert until(lambda: _listens(url))
    yield url
    process.terminate()
    process.wait(timeout=20)


def _listens(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True


def check(url: str, scenario: str, *options: str) -> tuple[int, set[str]]:
    """How many checks of the scenario passed, and which failed."""
    command = [str(NODE), str(SUITE), "server", "--url", url, "--scenario", scenario, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)
    counts = re.search(r"Passed: (\d+)/", said)
    assert counts, said
    return int(counts[1]), set(re.findall(r"\[([a-z0-9-]+)\s*\] FAILURE", said))


@pytest.mark.parametrize("scenario", OLD)
def test_this_server_conforms_to_the_old_era(this_server: str, scenario: str) -> None:
    passed, failed = check(this_server, scenario, "--spec-version", "2025-11-25")

    assert passed > 0 and not failed


@pytest.mark.parametrize("scenario", NEW)
def test_this_server_conforms_to_the_new_era(this_server: str, scenario: str) -> None:
    passed, failed = check(this_server, scenario, "--spec-version", "2026-07-28")

    assert passed > 0 and not failed


def test_this_server_is_stateless_but_for_two_checks_that_need_a_tool_of_the_suites_own(this_server: str) -> None:
    passed, failed = check(this_server, "server-stateless", "--spec-version", "2026-07-28")

    assert passed == 26
    assert failed == {"sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"}


@pytest.mark.parametrize("scenario", TASKS)
def test_the_tasks_extension_conforms(tasks_server: str, scenario: str) -> None:
    passed, failed = check(tasks_server, scenario)

    assert passed > 0 and not failed

"""The dashboard for browsers: who gets an answer, to what, and with which guards. The servers are real ones."""

import base64
import hashlib
import http.client
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from nnunet_mcp.server.dashboard.site import BODY_BYTES, TOOLS
from tests.kit.lab import Lab
from tests.kit.served import TOKEN, Served, serving, showing
from tests.kit.terminal import on_a_terminal, terminal
from tests.kit.tiny import ask, record_of
from tests.tools.watching.test_dashboard import HOSTILE, write_run

DATA = {"tool": "nnunet_dashboard_data", "arguments": {}}
RUN_ID = "d001-2d-f0-tttt"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("dashboard") / "work")
    lab.settings.create_folders()
    write_run(lab.settings, record_of(lab.settings, dataset_name=HOSTILE, created_at=1.0))
    return lab


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Served]:
    with showing(lab, stdout=subprocess.PIPE) as served:
        assert served.process.stdout is not None
        with served.process.stdout:
            yield served


def post(site: Served, body: Any = DATA, **headers: str) -> httpx2.Response:
    """A call of the page, but for these headers."""
    usual = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Origin": site.url}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {
        **usual,
        "Sec-Fetch-Site": "same-origin",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    return httpx2.post(f"{site.url}/call", content=content, headers=given, timeout=60)


def test_the_page_gets_what_an_agent_gets_a_strangers_name_as_text(lab: Lab, site: Served) -> None:
    answer = post(site)

    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    found = answer.json()["structuredContent"]
    assert found["run"]["facts"]["dataset"] == HOSTILE
    known = ask(lab.settings, "nnunet_dashboard_data")
    assert (found["runs"], found["run"]["facts"]) == (known["runs"], known["run"]["facts"])
    refused = post(site, {"tool": "nnunet_logs", "arguments": {"run_id": "../../etc", "lines": "many"}}).json()
    assert refused["isError"] and "run_id" in refused["content"][0]["text"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Cookie": f"token={TOKEN}", "Authorization": ""}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_only_the_page_itself_gets_an_answer_and_only_with_the_token(
    site: Served, headers: dict[str, str], status: int
) -> None:
    answer = post(site, **headers)

    assert answer.status_code == status
    assert RUN_ID not in answer.text and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 10_000, 400),
        ([], 400),
        ({"arguments": {}}, 400),
        ({"tool": ["nnunet_runs"]}, 403),
        ({"tool": "nnunet_logs", "arguments": []}, 403),
        ({"tool": "nnunet_predict", "arguments": {}}, 403),
        ({"tool": "nnunet_export_model", "arguments": {}}, 403),
        ({"tool": "nnunet_training", "arguments": {"dataset_id": 1, "configuration": "2d", "fold": "0"}}, 403),
        ({"tool": "nnunet_training", "arguments": {"dataset_id": 1, "like": RUN_ID, "continue_training": False}}, 403),
        (b'{"tool": "' + b"x" * BODY_BYTES + b'"}', 413),
    ],
)
def test_only_what_the_page_uses_is_carried_out(site: Served, body: Any, status: int) -> None:
    assert post(site, body).status_code == status


@pytest.mark.parametrize(("more", "said"), [({}, "dataset"), ({"after": RUN_ID}, "will not succeed any more")])
def test_a_stopped_run_is_gone_on_with_by_the_tool_itself(site: Served, more: dict[str, str], said: str) -> None:
    asked = {"dataset_id": 1, "like": RUN_ID, "continue_training": True, **more}

    answer = post(site, {"tool": "nnunet_training", "arguments": asked}).json()

    assert answer["isError"] and said in answer["content"][0]["text"]  # the tool's own words


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 405),
        ("GET", "/call", 405),
        ("PUT", "/call", 405),
        ("OPTIONS", "/call", 405),
        ("GET", "/style.css", 404),
        ("GET", "/mcp", 404),
        ("GET", "/../../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "//call", 404),
        ("GET", "/call/", 404),
        ("GET", "http://evil.example/", 421),
    ],
)
def test_there_is_nothing_but_the_page_and_its_calls(site: Served, method: str, path: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()

    assert (answer.status, b"root:" in text) == (status, False)


def test_without_the_token_the_page_is_empty_and_its_policy_lets_in_nothing_else(site: Served) -> None:
    answer = httpx2.get(f"{site.url}/")

    assert RUN_ID not in answer.text and TOKEN not in answer.text
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": sha256(answer.text, "script"),
        "style-src": sha256(answer.text, "style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    for served in (answer, post(site), post(site, Authorization="")):
        guards = [served.headers[name] for name in ("cache-control", "x-content-type-options", "referrer-policy")]
        assert guards == ["no-store", "nosniff", "no-referrer"] and "set-cookie" not in served.headers
    assert not re.search(r"\b(src|href)\s*=\s*[\"'](?!data:)|url\(|@import|\bimport\(", answer.text)


def sha256(page: str, tag: str) -> str:
    text = page.split(f"<{tag}", 1)[1].split(">", 1)[1].rsplit(f"</{tag}>", 1)[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.heavy
def test_a_read_only_page_stops_nothing(lab: Lab) -> None:
    with showing(lab, "--read-only") as site:
        answer = post(site, {"tool": "nnunet_cancel", "arguments": {"run_id": RUN_ID}}).json()

    assert answer["isError"] and "nnunet_cancel" in answer["content"][0]["text"]
    assert {"nnunet_cancel", "nnunet_training"} < set(TOOLS)


def test_a_server_over_http_has_the_page_too(lab: Lab) -> None:
    with serving(lab) as site:
        assert "<title>nnU-Net runs</title>" in httpx2.get(f"{site.url}/").text
        assert post(site).json()["structuredContent"]["runs"][0]["run_id"] == RUN_ID
        assert post(site, Authorization="Bearer wrong").status_code == 401


def test_the_command_prints_the_address_and_the_tunnel_and_ends_quietly(lab: Lab, site: Served) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.environment.items():
            patch.setenv(name, value)
        patch.setenv("NNUNET_MCP_HTTP_TOKEN", "")
        taken = terminal("dashboard", "--no-open", "--port", str(site.port))
        code, written = on_a_terminal("dashboard", "--no-open", send=signal.SIGINT, at="Ctrl-C ends the page")

    assert site.process.stdout is not None
    assert site.process.stdout.readline().decode() == f"Dashboard: {site.url}/\n"  # a token that lasts is not shown
    assert taken.returncode == 2 and f"--port {site.port} cannot be used" in taken.stderr
    found = re.search(r"http://127\.0\.0\.1:(\d+)/#token=([\w-]{43})\r?\n", written)
    assert found and f"ssh -L {found[1]}:127.0.0.1:{found[1]} " in written
    assert code == 0 and "Traceback" not in written

"""Whoever reaches the port without the token neither stops the server nor keeps its clients out."""

import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn

from nnunet_mcp.launch import python_command
from nnunet_mcp.server.protocol import http_limits
from tests.kit.lab import Lab, free_port, until
from tests.kit.served import TOKEN, Served, serving

USUAL_FILES = 1024
BEARER = f"Bearer {TOKEN}"
HALVES = {
    "half a head": b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    "half a body": b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n\r\n{",
    "a chunk too few": b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "not a word": b"",
    "a second half": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /hea",
}


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """An attacker has as many connections as it wants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def files(soft: int, hard: int) -> Callable[[], None]:
    return partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def held(server: Served, said: bytes, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say this and no more."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            try:
                one = stack.enter_context(closing(socket.create_connection(("127.0.0.1", server.port), 1)))
                one.sendall(said)
            except OSError:  # the server has no room for it, or has closed it already
                continue
            connections.append(one)
        yield connections


@pytest.mark.parametrize(
    "half", [name if name == "half a head" else pytest.param(name, marks=pytest.mark.heavy) for name in HALVES]
)
def test_as_many_half_requests_as_files_neither_stop_the_server_nor_keep_a_client_out(
    half: str, tmp_path: Path
) -> None:
    with serving(Lab(tmp_path), preexec_fn=files(USUAL_FILES, USUAL_FILES)) as server:
        with held(server, HALVES[half], USUAL_FILES - 4):
            before = time.monotonic()
            assert server.post(Authorization=BEARER) == 200
            assert time.monotonic() - before < http_limits.REQUEST_S
            assert server.process.poll() is None
        assert server.post(Authorization=BEARER) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes files from a process that runs")
@pytest.mark.parametrize("left", [0, *(pytest.param(left, marks=pytest.mark.heavy) for left in (1, 3))])
def test_a_server_that_has_no_file_left_goes_on_when_there_are_some(left: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as said, serving(Lab(tmp_path), stderr=said) as server:
        process = psutil.Process(server.process.pid)
        before = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + left, before[1]))
        with held(server, HALVES["not a word"], left + 8):
            assert until(lambda: "out of system resource" in log.read_text(encoding="utf-8"), timeout_s=10)
            assert server.process.poll() is None
            process.rlimit(psutil.RLIMIT_NOFILE, before)
            assert until(server.answers, timeout_s=10)
            assert server.post(Authorization=BEARER) == 200
    assert "rich" not in log.read_text(encoding="utf-8")


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(tmp_path: Path) -> None:
    with serving(Lab(tmp_path), preexec_fn=files(256, 2048)) as server:
        limits = Path(f"/proc/{server.process.pid}/limits")
        if not limits.exists():
            pytest.skip("only Linux tells a process's limits")
        assert re.search(r"Max open files\s+2048\s+2048", limits.read_text(encoding="utf-8"))


async def slow(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """An application that takes longer to answer than a request may take to arrive."""
    import anyio

    await anyio.sleep(3 * http_limits.REQUEST_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server in this process that gives requests less time."""
    monkeypatch.setattr(http_limits, "REQUEST_S", 0.4)
    port = free_port()
    options: dict[str, Any] = {"lifespan": "off", "ws": "none", "loop": "asyncio", "log_config": None}
    server = uvicorn.Server(uvicorn.Config(slow, port=port, http=http_limits.BoundedProtocol, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert until(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("beginning", [b"", HALVES["half a body"]])
def test_a_request_that_drips_in_is_cut_off_in_time(impatient: int, beginning: bytes) -> None:
    began = time.monotonic()
    with closing(socket.create_connection(("127.0.0.1", impatient), 5)) as one:
        one.sendall(beginning or b"GET / HTTP/1.1\r\nX: ")
        one.settimeout(0.05)

        def cut_off() -> bool:
            try:
                one.sendall(b"a")
                return one.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        assert until(cut_off, timeout_s=5)
    assert time.monotonic() - began < 3


def test_an_answer_may_take_longer_than_a_request(impatient: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", impatient), 5)) as one:
        for _ in range(2):
            one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                piece = one.recv(1000)
                assert piece, "it was cut off"
                answer += piece


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server that is shared by tests writes its access log."""
    return tmp_path_factory.mktemp("log") / "log"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[Served]:
    lab = Lab(tmp_path_factory.mktemp("served"), {"NNUNET_MCP_HTTP_HOSTS": "lab.example, Other.Example"})
    with log.open("wb") as said, serving(lab, stderr=said) as server:
        yield server


EVIL_HOSTS = (
    "evil.example",
    "localhost.evil.example",
    "localhost:x@evil.com",
    "localhost:80@evil.com",
    "localhost:80:80",
    "localhost:",
    "localhost:123456",
    "localhost:\u0661",
    "user@localhost",
    "localhost/",
    "[::1]:x",
    "[::1",
    "0.0.0.0",
    "",
)


@pytest.mark.parametrize("host", EVIL_HOSTS)
def test_only_the_names_that_it_has_are_answered_whatever_the_path(served: Served, host: str) -> None:
    host = host.encode().decode("latin-1")
    assert served.post(Authorization=BEARER, Host=host) in (400, 421)
    assert served.get("/health", Host=host) in (400, 421)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:8765", "[::1]:1", "lab.example", "other.example:443"]
)
def test_its_names_are_answered_with_any_port(served: Served, host: str) -> None:
    assert served.post(Authorization=BEARER, Host=host) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://localhost:80.evil.com",
        "http://localhost.evil.com",
        "http://localhost@evil.com",
        "http://localhost:80@evil.com",
        "http://localhost#evil.com",
        "ftp://localhost",
        "localhost",
        "null",
    ],
)
def test_a_page_of_another_name_may_not_call(served: Served, origin: str) -> None:
    assert served.post(Authorization=BEARER, Origin=origin) == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://lab.example", "https://lab.example:8443"])
def test_a_page_of_its_names_may(served: Served, origin: str) -> None:
    assert served.post(Authorization=BEARER, Origin=origin) == 200


@pytest.mark.parametrize("path", [f"/mcp?access_token={TOKEN}", f"/health?{TOKEN}", f"/{'x' * 9}?a=b&token={TOKEN}?c"])
def test_the_access_log_has_no_token_of_an_address(served: Served, log: Path, path: str) -> None:
    before = log.stat().st_size
    served.post(path)
    served.get(path, Authorization="Bearer wrong")
    text = log.read_bytes()[before:].decode()
    assert path.partition("?")[0] in text and "POST" in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    "token",
    [f"  {'x' * 15} ", *(pytest.param(token, marks=pytest.mark.heavy) for token in ("a", "x" * 15, " " * 40))],
)
def test_a_token_that_can_be_guessed_is_refused_at_the_start(token: str, tmp_path: Path) -> None:
    command = [*python_command(sys.executable, "nnunet_mcp"), "serve", "--http", "--port", str(free_port())]
    environment = {**Lab(tmp_path).environment, "NNUNET_MCP_HTTP_TOKEN": token}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "NNUNET_MCP_HTTP_TOKEN has fewer than 16 characters" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.heavy
def test_sessions_of_a_client_that_never_ends_them_do_not_pile_up(served: Served) -> None:
    answers = [served.post(Authorization=BEARER) for _ in range(600)]
    assert 300 < answers.count(200) <= 500 and set(answers) == {200, 503}

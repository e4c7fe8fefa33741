"""What hosts do to a stdio server and what it lives through; the processes are real, the worker is played."""

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nnunet_mcp.runs.processes import processes_of
from nnunet_mcp.schemas.training import TrainingCall
from nnunet_mcp.tools.training.training import prepare_run
from tests.kit.lab import Lab, stand_in_python, until
from tests.kit.tiny import make_dataset
from tests.kit.wire import Message, Wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
START: Message = {"dataset_id": 1, "configuration": "2d", "fold": "0", "device": "cpu", "request_id": "mine-1"}
ENDS_WITHIN_S = 1.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A dataset, and a worker that waits to be let go."""
    extra = {"NNUNET_MCP_WORKER_PYTHON": str(stand_in_python(tmp_path)), "STAND_IN": '{"preprocess": "waits for go"}'}
    made = Lab(tmp_path / "work", extra)
    make_dataset(tmp_path / "work" / "raw", "Dataset001_Tiny")
    yield made
    for process in made.processes():
        process.kill()


@pytest.fixture
def wire(lab: Lab, tmp_path: Path) -> Iterator[Wire]:
    """A server whose working folder can be taken away."""
    (tmp_path / "cwd").mkdir()
    found = Wire(lab.environment, tmp_path / "cwd")
    found.begin()
    yield found
    found.end()


def started(wire: Wire, lab: Lab) -> str:
    """A run whose worker waits."""
    result = wire.call("nnunet_training", **START)
    run_id = str(result["structuredContent"]["run_id"])
    assert until(lambda: bool(processes_of(lab.run_dir(run_id) / "stages" / "preprocess")), timeout_s=30)
    return run_id


def waiting(wire: Wire, run_id: str, **meta: Any) -> int:
    """A call that waits for news."""
    arguments = {"run_id": run_id, "wait_s": 50}
    return wire.send("tools/call", {"name": "nnunet_progress", "arguments": arguments, "_meta": meta})


def pipes(pid: int) -> set[str]:
    """The pipes that a process holds."""
    links = (str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return {link for link in links if link.startswith("pipe:")}


def ended(wire: Wire) -> tuple[float, str]:
    """How long a server lives after SIGINT, and what it says then."""
    begun = time.monotonic()
    wire.process.send_signal(signal.SIGINT)
    _, said = wire.process.communicate(timeout=20)
    return time.monotonic() - begun, said


@pytest.mark.heavy
def test_two_servers_start_one_run_that_goes_on_and_is_found_when_sigint_ends_them(wire: Wire, lab: Lab) -> None:
    rival = Wire(lab.environment)
    rival.begin()
    same = rival.send("tools/call", {"name": "nnunet_training", "arguments": START})
    run_id = started(wire, lab)
    assert rival.hear(lambda message: message.get("id") == same)["result"]["structuredContent"]["run_id"] == run_id
    [worker] = processes_of(lab.run_dir(run_id) / "stages" / "preprocess")
    engine = json.loads((lab.run_dir(run_id) / "engine.json").read_text(encoding="utf-8"))
    supervisor = engine["supervisor"]["pid"]
    assert pipes(wire.process.pid) and not pipes(wire.process.pid) & (pipes(supervisor) | pipes(worker.pid))
    assert worker.nice() == os.nice(0) + 10

    waiting(wire, run_id, progressToken="t")
    wire.hear(lambda message: message.get("method") == "notifications/progress")
    seconds, said = ended(wire)

    assert seconds < ENDS_WITHIN_S and "Traceback" not in said
    assert worker.is_running() and psutil.pid_exists(supervisor)
    again, other = rival.call("nnunet_training", **START), rival.call("nnunet_training", **{**START, "fold": "1"})
    idle, said = ended(rival)
    assert again["structuredContent"]["run_id"] == run_id
    assert other["isError"] and f"has started run {run_id} with other arguments" in other["content"][0]["text"]
    assert idle < ENDS_WITHIN_S and "Traceback" not in said


@pytest.mark.heavy
def test_a_cancelled_call_is_never_answered_and_progress_rises_only_where_it_was_asked_for(
    wire: Wire, lab: Lab
) -> None:
    run_id = started(wire, lab)
    cancelled, silent = waiting(wire, run_id, progressToken="one"), waiting(wire, run_id)
    for _ in range(2):
        wire.hear(lambda message: message.get("method") == "notifications/progress")
    wire.tell("notifications/cancelled", {"requestId": cancelled})
    (lab.run_dir(run_id) / "go").touch()
    wire.hear(lambda message: message.get("id") == silent)
    wire.request("ping")

    told = [message["params"] for message in wire.heard if message.get("method") == "notifications/progress"]
    values = [params["progress"] for params in told]
    assert {params["progressToken"] for params in told} == {"one"} and values == sorted(set(values))
    assert cancelled not in [message.get("id") for message in wire.heard]


def test_a_server_lives_on_through_what_is_taken_from_it_and_works_again_afterwards(
    wire: Wire, lab: Lab, tmp_path: Path
) -> None:
    def error(tool: str, **arguments: Any) -> str:
        result = wire.call(tool, **arguments)
        assert result.get("isError"), result
        return str(result["content"][0]["text"])

    work, python = lab.folder, tmp_path / "worker python"
    assert not wire.call("nnunet_runs").get("isError")
    (tmp_path / "cwd").rmdir()
    shutil.rmtree(work / "results")
    (work / "results").touch()
    assert "results" in error("nnunet_training", **START)
    (work / "results").unlink()
    python.rename(tmp_path / "away")
    assert "worker python" in error("nnunet_training", **START)
    (tmp_path / "away").rename(python)
    server, limits = psutil.Process(wire.process.pid), resource.getrlimit(resource.RLIMIT_NOFILE)
    server.rlimit(psutil.RLIMIT_NOFILE, (server.num_fds(), limits[1]))
    assert "Too many open files" in error("nnunet_training", **START)
    server.rlimit(psutil.RLIMIT_NOFILE, (limits[1], limits[1]))

    cut_off, _, _ = prepare_run(TrainingCall.model_validate(START), lab.settings)
    assert started(wire, lab) == cut_off.run_id

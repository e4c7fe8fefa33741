"""Whether a process is still ours is proved by pid, start time and boot, with real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nnunet_mcp.liveness import liveness, mark_of
from nnunet_mcp.schemas.records import ProcessMark
from tests.kit.lab import until


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def test_a_running_process_is_alive(process: "subprocess.Popen[bytes]") -> None:
    assert liveness(mark_of(process.pid)) == "alive"


def test_an_ended_process_is_dead(process: "subprocess.Popen[bytes]") -> None:
    mark = mark_of(process.pid)
    process.kill()
    process.wait()

    assert liveness(mark) == "dead"


def test_a_zombie_is_dead(process: "subprocess.Popen[bytes]") -> None:
    mark = mark_of(process.pid)
    process.kill()  # and nobody waits for it

    assert until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert liveness(mark) == "dead"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param({"start_time": 1.0}, "dead", id="a reused pid has another start time"),
        pytest.param({"boot_id": "another"}, "dead", id="the machine has been restarted"),
        pytest.param({"host": "another"}, "unknown", id="it runs on another host"),
        pytest.param({"host": "another", "boot_id": "another"}, "unknown", id="another host has another boot"),
        pytest.param({"pid_namespace": "pid:[1]"}, "unknown", id="it runs in another container"),
    ],
)
def test_a_living_pid_alone_proves_nothing(
    process: "subprocess.Popen[bytes]", other: dict[str, object], expected: str
) -> None:
    mark = mark_of(process.pid)

    assert liveness(ProcessMark.model_validate({**mark.model_dump(), **other})) == expected


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere a start is a time of day, and compared with a tolerance")
def test_setting_the_clock_ends_no_process(process: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch) -> None:
    mark = mark_of(process.pid)
    booted = psutil.boot_time()

    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + 3600)  # what the kernel tells after the step

    assert liveness(mark) == "alive"


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a ) Z 1 (name"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as child:
        assert until(lambda: psutil.Process(child.pid).name() == program.name)
        assert liveness(mark_of(child.pid)) == "alive"


def test_a_mark_survives_being_written_down(process: "subprocess.Popen[bytes]") -> None:
    text = mark_of(process.pid).model_dump_json()

    assert liveness(ProcessMark.model_validate_json(text)) == "alive"


def test_the_calling_process_is_alive_to_itself() -> None:
    assert liveness(mark_of(os.getpid())) == "alive"

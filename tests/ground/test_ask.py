"""The one protocol for asking a process of our own, with processes that play the other side."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import BaseModel

from nnunet_mcp.ask import Failed, NotStarted, TookTooLong, ask, ask_for_bytes, listen
from nnunet_mcp.errors import Refused
from tests.kit.lab import until

Play = Callable[..., str]
MB = 1024 * 1024


class Sum(BaseModel):
    """A job and its answer."""

    numbers: tuple[int, ...] = ()


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """A module whose `work(job, say)` has this body; returns its name."""

    def write(body: str, options: str = "") -> str:
        text = (
            "import os, subprocess, sys, time\n"
            "from nnunet_mcp.ask import answer\n"
            "from nnunet_mcp.errors import Refused\n"
            "from pydantic import BaseModel\n"
            "class Sum(BaseModel):\n    numbers: tuple[int, ...] = ()\n"
            f"def work(job, say):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
            f"if __name__ == '__main__':\n    sys.exit(answer(Sum, work{options}))\n"
        )
        (tmp_path / "played.py").write_text(text, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return "played"

    return write


def test_the_last_line_is_the_answer_and_what_libraries_print_is_not(play: Play) -> None:
    module = play(
        "print(1); os.system('echo more'); say(Sum()); return Sum(numbers=(sum(job.numbers), len(job.numbers)))"
    )

    assert ask(sys.executable, module, Sum, Sum(numbers=(1, 2)), timeout_s=60).numbers == (3, 2)


def test_a_job_may_be_larger_than_a_pipe_takes(play: Play) -> None:
    module = play("return Sum(numbers=(len(job.numbers),))")

    assert ask(sys.executable, module, Sum, Sum(numbers=(123456789,) * MB), timeout_s=60).numbers == (MB,)


def test_a_refusal_and_a_failure_are_told_apart(play: Play) -> None:
    with pytest.raises(Refused, match="line one\nline two"):
        ask(sys.executable, play("raise Refused('line one\\nline two')"), Sum, timeout_s=60)
    with pytest.raises(Refused, match="no picture"):
        ask_for_bytes(sys.executable, play("raise Refused('no picture')"), Sum(), timeout_s=60)
    with pytest.raises(Failed, match="exit code 1: KeyError: 'lost'"):
        ask(sys.executable, play("raise KeyError('lost')"), Sum, timeout_s=60)
    with pytest.raises(Failed, match="exit code -9: no output"):
        ask(sys.executable, play("os.kill(os.getpid(), 9)"), Sum, timeout_s=60)
    with pytest.raises(NotStarted, match="No such file"):
        ask("/nowhere/python", "played", Sum, timeout_s=60)


def test_an_answer_counts_although_a_library_crashes_at_the_end(play: Play) -> None:
    module = play("import atexit; atexit.register(os.abort); return Sum(numbers=(7,))")

    assert ask(sys.executable, module, Sum, timeout_s=60).numbers == (7,)


def test_bytes_come_whole(play: Play) -> None:
    module = play("return bytes(range(256)) * 4096")

    assert ask_for_bytes(sys.executable, module, Sum(), timeout_s=60) == bytes(range(256)) * 4096


def test_a_process_that_takes_too_long_is_killed(play: Play, tmp_path: Path) -> None:
    module = play(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")

    with pytest.raises(TookTooLong):
        ask(sys.executable, module, Sum, timeout_s=3)

    assert not psutil.pid_exists(int((tmp_path / "pid").read_text(encoding="utf-8")))


def test_what_a_process_leaves_behind_is_not_waited_for(play: Play) -> None:
    """It has the pipe of the answer open as well."""
    module = play("os.fork() == 0 and (time.sleep(8), os._exit(0)); return Sum(numbers=(1,))")
    begun = time.monotonic()

    assert ask(sys.executable, module, Sum, timeout_s=60).numbers == (1,)
    assert time.monotonic() - begun < 6


def test_memory_has_a_bound_where_one_is_given(play: Play) -> None:
    module = play("bytearray(1 << 30)", ", memory=1 << 29")

    with pytest.raises(Failed, match="MemoryError"):
        ask(sys.executable, module, Sum, timeout_s=60)


def test_lines_come_as_they_are_said_and_who_stops_listening_ends_the_process(play: Play, tmp_path: Path) -> None:
    module = play("say(Sum(numbers=(os.getpid(),))); time.sleep(60)")

    lines = listen(sys.executable, module, Sum, Sum(), timeout_s=60)
    (pid,) = next(line for line in lines if line is not None).numbers
    assert psutil.pid_exists(pid) and next(lines) is None
    lines.close()

    assert until(lambda: not psutil.pid_exists(pid))


def test_it_ends_with_a_server_that_is_killed(play: Play) -> None:
    module = play("time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE)
    assert process.stdin is not None

    process.stdin.write(b"{}\n")
    process.stdin.close()

    assert process.wait(timeout=30) == 1


def test_where_nobody_writes_the_job_is_the_argument(play: Play) -> None:
    module = play("return Sum(numbers=(len(job.numbers),))")
    command = [sys.executable, "-m", module]

    for arguments, said in (('{"numbers": [1, 2]}', "2"), ("", "0")):
        done = subprocess.run(
            [*command, *filter(None, [arguments])], stdin=-3, capture_output=True, text=True, check=True
        )
        assert done.stdout == f'{{"numbers":[{said}]}}\n'

"""The command `nnunet-mcp` as people and scripts run it."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from nnunet_mcp.server.cli import main

COMMAND = [sys.executable, "-m", "nnunet_mcp"]
Done = subprocess.CompletedProcess[str]


def terminal(*words: str, **more: Any) -> Done:
    """Run a subcommand without a terminal."""
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=300, check=False, **more)


def typed(*words: str) -> Done:
    """What a subcommand says, without a process of its own: for long tables of cases."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        patch.setattr(sys, "argv", ["nnunet-mcp", *words])
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    told = []
    for stream in streams:
        stream.seek(0)
        told.append(stream.read())
        stream.close()
    return subprocess.CompletedProcess(words, code, *told)


def as_json(*words: str) -> Any:
    """What a subcommand prints with --json; nothing else may be on its standard output."""
    return json.loads(terminal(*words, "--json").stdout)


def hear_ctrl_c() -> None:
    """Undo that a test run in the background has Ctrl-C ignored, and its children with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupted(*words: str, after: Callable[[str], bool]) -> Done:
    """Run a subcommand and press Ctrl-C as soon as it has printed a line that fits."""
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stdout is not None
    seen = ""
    while (line := process.stdout.readline()) and not after(line):
        seen += line
    os.killpg(process.pid, signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.returncode, seen + line + output, errors)


def on_a_terminal(*words: str, send: signal.Signals | None = None, at: str = "") -> tuple[int, str]:
    """Run a subcommand on a pseudo-terminal; returns its exit code and all that it wrote there.

    `send`: a signal to send it as soon as it has written `at`.
    """
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
    with subprocess.Popen(
        [*COMMAND, *words], stdin=slave, stdout=slave, stderr=slave, env=environment, preexec_fn=hear_ctrl_c
    ) as process:
        os.close(slave)
        written = b""
        while block := _read(master):
            written += block
            if send is not None and at.encode() in written:
                process.send_signal(send)
                send = None
    os.close(master)
    return process.returncode, written.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says that the other side is closed
        return b""

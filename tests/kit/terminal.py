"""The command `nnunet-mcp` as people and scripts run it."""

import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
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


def in_a_window(*words: str, sizes: Sequence[tuple[int, str]], lines: int = 24) -> tuple[int, list[str]]:
    """Run a subcommand in a window that changes its size, then press Ctrl-C.

    `sizes`: columns, and a text to wait for before the next. Returns the exit code, and what was written at each size
    and after Ctrl-C.
    """
    master, slave = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    parts = []
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, sizes[0][0], 0, 0))
    with subprocess.Popen(
        [*COMMAND, *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**environment, "TERM": "xterm-256color"},
        preexec_fn=hear_ctrl_c,
    ) as process:
        os.close(slave)
        for columns, text in sizes:
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            parts.append(_read_until(master, text))
        process.send_signal(signal.SIGINT)
        parts.append(_read_until(master, None))
    os.close(master)
    return process.returncode, parts


def _read_until(master: int, text: str | None, timeout_s: float = 60) -> str:
    written, deadline = b"", time.monotonic() + timeout_s
    while text is None or text.encode() not in written:
        ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{text!r} was not written within {timeout_s:.0f} s: {written!r}"
        if not (block := _read(master)):
            break
        written += block
    return written.decode(errors="replace")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says that the other side is closed
        return b""

"""Start a server as a client would: does it answer soon, and with nothing else on the wire?"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from typing import IO

from ...schemas.system import Check
from .entry import Entry, Report

SLOW_S = 10.0
LIMIT_S = 60.0
END_S = 3.0
BY_HAND = "Start the command in a terminal to see what it says."
# What clients hand on of their own environment.
HANDED_ON = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "nnunet-mcp doctor", "version": "1"},
    },
}


def start_up_check(file: str, entry: Entry, *, slow_s: float = SLOW_S, limit_s: float = LIMIT_S) -> Check:
    """Start the entry's command, greet it, and end it."""
    report = Report(file, entry)
    began = time.monotonic()
    try:
        process = _start(entry)
    except OSError as error:
        return report.problem(f"it cannot be started: {error.strerror}.", BY_HAND)
    try:
        first = _first_line(process, limit_s)
        seconds = time.monotonic() - began
    finally:
        _end(process)
    if first is None:
        return report.problem(f"it does not answer within {limit_s:.0f} s.", BY_HAND)
    if not first:
        return report.problem(f"it ends at once, with exit code {process.returncode}.", BY_HAND)
    if not _is_message(first):
        fix = "Keep standard output free: only the protocol may be printed there."
        return report.problem("it prints something else than the protocol to standard output.", fix)
    if seconds > slow_s:
        fix = "Install it on a local disk: some clients give up after 10 s."
        return report.warning(f"it takes {seconds:.0f} s to answer.", fix)
    return report.ok(f"starts and answers in {seconds:.1f} s")


def _start(entry: Entry) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [shutil.which(entry.command or "") or "", *entry.arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in HANDED_ON if name in os.environ} | entry.environment,
        text=True,
        start_new_session=True,
    )


def _first_line(process: "subprocess.Popen[str]", limit_s: float) -> str | None:
    """The answer to the greeting; empty: the process ended; None: too late."""
    assert process.stdin is not None and process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_put_line, args=(process.stdout, lines), daemon=True).start()
    try:
        process.stdin.write(json.dumps(HELLO) + "\n")
        process.stdin.flush()
        return lines.get(timeout=limit_s)
    except BrokenPipeError:
        return ""
    except queue.Empty:
        return None


def _put_line(stream: IO[str], lines: "queue.Queue[str]") -> None:
    with stream:
        lines.put(stream.readline())


def _end(process: "subprocess.Popen[str]") -> None:
    """The end of its standard input ends a server; what does not go is killed, with what it started."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_message(line: str) -> bool:
    try:
        return bool(json.loads(line).get("jsonrpc") == "2.0")
    except (ValueError, AttributeError):
        return False

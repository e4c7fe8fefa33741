"""Start this server as a client would, with its command and environment, and check that it answers soon."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ..schemas.system import Check
from ..settings import Settings, variable

NAME = "server's start"
SLOW_S = 10.0
LIMIT_S = 60.0
END_S = 3.0
BY_HAND = "Start nnunet-mcp in a terminal to see what it says."
KEPT = ("raw", "preprocessed", "results")
KEPT_IF_SET = ("home", "allowed_dirs", "worker_python", "gpus", "share_gpus")
# Variables of the shell about GPUs, libraries and nnU-Net: without them a server that a client starts would use all
# GPUs.
PASSED_ON = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "LD_LIBRARY_PATH")
# Variables that clients pass on from their own environment.
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


def environment(settings: Settings) -> dict[str, str]:
    """The variables that make a client's server use this shell's folders: a client does not pass them on."""
    fields = Settings.model_fields
    folders = {variable(which, fields[which]): str(settings.folder(which)) for which in KEPT}
    given = {variable(n, fields[n]): value for n in KEPT_IF_SET if (value := getattr(settings, n)) != fields[n].default}
    theirs = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("nnUNet_")}
    return {**theirs, **folders, **{name: str(value) for name, value in given.items()}}


def own_command() -> str:
    """The absolute path of this nnunet-mcp: clients do not know the shell's PATH."""
    return str(Path(sys.executable).with_name("nnunet-mcp"))


def start_up_check(
    command: Sequence[str], variables: Mapping[str, str], *, slow_s: float = SLOW_S, limit_s: float = LIMIT_S
) -> Check:
    """Start the command with these variables as a client would, send the first message, and end it."""
    began = time.monotonic()
    try:
        process = _start(command, variables)
    except OSError as error:
        return _problem(f"{command[0]} cannot be started: {error.strerror}.", "Install nnunet-mcp again.")
    try:
        first = _first_line(process, limit_s)
        seconds = time.monotonic() - began
    finally:
        _end(process)
    if first is None:
        return _problem(f"It does not answer within {limit_s:.0f} s.", BY_HAND)
    if not first:
        return _problem(f"It ends at once, with exit code {process.returncode}.", BY_HAND)
    if not _is_message(first):
        fix = "Keep standard output free: only the protocol may be printed there."
        return _problem("It prints something else than the protocol to standard output.", fix)
    if seconds > slow_s:
        fix = "Install it on a local disk: some clients give up after 10 s."
        return Check(name=NAME, level="warning", detail=f"It takes {seconds:.0f} s to answer.", fix=fix)
    return Check(name=NAME, level="ok", detail=f"starts and answers in {seconds:.1f} s")


def _problem(detail: str, fix: str) -> Check:
    return Check(name=NAME, level="problem", detail=detail, fix=fix)


def _start(command: Sequence[str], variables: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in HANDED_ON if name in os.environ} | dict(variables),
        text=True,
        start_new_session=True,
    )


def _first_line(process: "subprocess.Popen[str]", limit_s: float) -> str | None:
    """The answer to the first message; empty if the process ended, None if it took too long."""
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
    """Close standard input, which ends a server; kill it and its children if it does not end."""
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

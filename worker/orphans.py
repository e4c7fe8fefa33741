"""Make every process of a stage end with the process that started it, however that one ends.

Loaders and pools of a worker that was killed would wait for it for ever, with their memory and the locks that they
inherited. On Linux the kernel ends them (prctl(2), PR_SET_PDEATHSIG: when the thread that started them ends, which
here is the main thread, or that of a pool, which lives as long as the pool); elsewhere each looks for its parent.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from . import nnunet_seam

# The parent's pid, passed to the child: the parent may die before the child can ask the kernel for the signal.
PARENT_VARIABLE = "NNUNET_MCP_PARENT"
PR_SET_PDEATHSIG = 1
LOOK_EVERY_S = 1.0
# What a process of multiprocessing that is started anew, not forked, does before everything else.
BEGINNING = f"from {__name__} import end_with_parent; end_with_parent(); "

_begun_in = 0


def take_children_along() -> None:
    """From now on whatever multiprocessing starts here, forked or anew, ends with this process."""
    global _begun_in
    _begun_in = os.getpid()
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    _prepare_children()


def end_with_parent() -> None:
    """For a process that was started anew: it ends with the one that started it, and what it starts ends with it."""
    if PARENT_VARIABLE in os.environ and _begun_in != os.getpid():
        _begin()
        _prepare_children()


def _prepare_children() -> None:
    os.register_at_fork(after_in_child=_begin)
    nnunet_seam.replace("multiprocessing.spawn:get_command_line", _beginning_with_ours)


def _beginning_with_ours(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def command_line(**known: Any) -> list[Any]:
        return [BEGINNING + part if _is_code(part) else part for part in original(**known)]

    return command_line


def _is_code(part: str | bytes) -> bool:
    return isinstance(part, str) and part.startswith("from multiprocessing")


def _begin() -> None:
    global _begun_in
    if _begun_in == os.getpid():
        return
    _begun_in = os.getpid()
    parent = int(os.environ[PARENT_VARIABLE])
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)

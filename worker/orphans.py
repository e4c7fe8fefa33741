"""No process of a stage outlives the one that started it, however that one died.

Loaders and pools of a worker that was killed would wait for it for ever, with their memory and the locks that they
inherited. On Linux the kernel ends them (prctl(2), PR_SET_PDEATHSIG); elsewhere each looks for its parent.
"""

import ctypes
import os
import signal
import sys
import threading
import time

# The process that a process belongs to: it may have died before its child could say what should happen then.
PARENT_VARIABLE = "NNUNET_MCP_PARENT"
PR_SET_PDEATHSIG = 1
LOOK_EVERY_S = 1.0


def take_children_along() -> None:
    """From now on whatever this process starts ends with it: what it forks, and what calls `end_with_parent`."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    os.register_at_fork(after_in_child=_begin)


def end_with_parent() -> None:
    """For a process that was not forked but started anew; what it starts in turn ends with it."""
    if PARENT_VARIABLE in os.environ:
        _begin()
        os.register_at_fork(after_in_child=_begin)


def _begin() -> None:
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

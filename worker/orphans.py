"""Make every process of a stage end with the process that started it, however that one ends.

Loaders and pools of a killed worker would wait for it for ever, and keep their memory and inherited locks. On Linux the
kernel ends them (prctl(2), PR_SET_PDEATHSIG); elsewhere each process checks for its parent.
"""

import ctypes
import os
import signal
import sys
import threading
import time

# The parent's pid, passed to the child: the parent may die before the child can ask the kernel for the signal.
PARENT_VARIABLE = "NNUNET_MCP_PARENT"
PR_SET_PDEATHSIG = 1
LOOK_EVERY_S = 1.0


def take_children_along() -> None:
    """Make all processes that this one starts from now on end with it: forked ones, and those that call
    `end_with_parent`."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    os.register_at_fork(after_in_child=_begin)


def end_with_parent() -> None:
    """For a process that was started anew, not forked: end with the parent, and take its own children along."""
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

"""Pools whose processes need not import PyTorch and nnU-Net again.

nnU-Net makes a pool of new processes for each of its steps: verification, fingerprint, preprocessing, export, metrics
(nnunetv2 2.8.1, `multiprocessing.get_context("spawn").Pool`). Each process imports for seconds before it works. Here
they are forked from a server that has imported everything once and does nothing else, so they also share its memory.
"""

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from typing import Any

from . import nnunet_seam
from .safe_reading import judge_what_nnunet_reads

PRELOADED = "nnunet_mcp.worker.pool_modules"


def fork_pools_from_a_server() -> None:
    """Make pools fork their processes from a server from now on, where that is possible."""
    import_in_server()
    nnunet_seam.replace("multiprocessing.context:SpawnContext.Pool", _from_a_server)


def import_in_server(*more: str) -> None:
    """Let the server import further modules, if it does not run yet; one that is not installed is passed over."""
    multiprocessing.set_forkserver_preload([PRELOADED, *more])


def _from_a_server(new_processes: Callable[..., Any]) -> Callable[..., Any]:
    def pool(context: Any, *args: Any, **kwargs: Any) -> Any:
        if start_server():
            return multiprocessing.get_context("forkserver").Pool(*args, **kwargs)
        return new_processes(context, *args, **_judging(*args, **kwargs))

    return pool


def _judging(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Add our own initializer for each new process; nnU-Net gives its pools none."""
    return kwargs if len(args) > 1 or "initializer" in kwargs else {**kwargs, "initializer": judge_what_nnunet_reads}


def start_server() -> bool:
    """Start the server; returns whether it runs. Only on Linux, as forking is not safe elsewhere.

    It imports in the background, so starting it early saves the first pool's wait.
    """
    if sys.platform != "linux":
        return False
    try:
        forkserver.ensure_running()
    except OSError:  # its socket cannot be created: the disk is full, or the path too long
        return False
    return True

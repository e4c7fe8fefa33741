"""What an agent can do, one module per noun: a request in, a typed answer out. No transport, no torch.

`tools.progress` and the others are imported when they are first used: a client waits for the server's start in every
chat.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import datasets, logs, progress, results, runs, trainers, training

__all__ = ["datasets", "logs", "progress", "results", "runs", "trainers", "training"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")

"""What an agent can do, one module per noun: a request in, a typed answer out. No transport, no torch.

`tools.progress` and the others are imported when they are first used: a client waits for the server's start in every
chat, and a person for the command's.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        compare,
        dashboard,
        datasets,
        finding_best,
        importing,
        logs,
        model_export,
        model_import,
        plots,
        predicting,
        preflight,
        progress,
        results,
        runs,
        system,
        trainers,
        training,
        view,
    )

__all__ = [
    "compare",
    "dashboard",
    "datasets",
    "finding_best",
    "importing",
    "logs",
    "model_export",
    "model_import",
    "plots",
    "predicting",
    "preflight",
    "progress",
    "results",
    "runs",
    "system",
    "trainers",
    "training",
    "view",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")

"""What an agent can do, one module per noun: a request in, a typed answer out. No transport, no torch.

`tools.progress` and the others are imported when they are first used: a client waits for the server's start in every
chat, and a person for the command's.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import system
    from .data import datasets, importing
    from .models import compare, finding_best, model_export, model_import, predicting
    from .training import preflight
    from .watching import dashboard, logs, progress, results, runs, view

ROOMS = {
    "compare": "models.compare",
    "dashboard": "watching.dashboard",
    "datasets": "data.datasets",
    "finding_best": "models.finding_best",
    "importing": "data.importing",
    "logs": "watching.logs",
    "model_export": "models.model_export",
    "model_import": "models.model_import",
    "predicting": "models.predicting",
    "preflight": "training.preflight",
    "progress": "watching.progress",
    "results": "watching.results",
    "runs": "watching.runs",
    "system": "system",
    "view": "watching.view",
}
__all__ = [
    "compare",
    "dashboard",
    "datasets",
    "finding_best",
    "importing",
    "logs",
    "model_export",
    "model_import",
    "predicting",
    "preflight",
    "progress",
    "results",
    "runs",
    "system",
    "view",
]


def __getattr__(name: str) -> ModuleType:
    if name not in ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{ROOMS[name]}")

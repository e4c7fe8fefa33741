"""nnU-Net training over the Model Context Protocol.

This folder gives the project its import name, and holds the ground under all rooms: errors, files,
texts, settings, locks. The rooms `server/`, `tools/`, `schemas/`, `nnunet/`, `runs/` and `worker/` are at
the top of the repository: the wheel installs them in here, and in a checkout the links beside this file
lead to them.

Nothing is imported before it is asked for: every process that nnU-Net spawns imports this file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tools.reports.from_python import nnunet_report as nnunet_report
    from .tools.training.blocking import nnunet_training as nnunet_training

__all__ = ["nnunet_report", "nnunet_training"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "nnunet_training":
        from .tools.training.blocking import nnunet_training

        return nnunet_training
    if name == "nnunet_report":
        from .tools.reports.from_python import nnunet_report

        return nnunet_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

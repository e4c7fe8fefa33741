"""The machine and the installation: requests and answers."""

from typing import Literal

from pydantic import Field

from .base import Record, Request


class Slot(Record):
    """A place for one stage at a time."""

    kind: Literal["gpu", "cpu", "preprocess"]
    name: str
    holder: str | None = Field(description="Who uses it; null: free.")


class SystemAnswer(Record):
    """The machine."""

    gpus: tuple[str, ...]
    cpu_cores: int
    memory_gb: float
    memory_free_gb: float
    slots: tuple[Slot, ...]
    folders: dict[str, str]
    state_folder: str
    disk_free_gb: dict[str, float]
    versions: dict[str, str]
    problems: tuple[str, ...]
    next_step: str


class Check(Record):
    """One check and its result."""

    name: str
    level: Literal["ok", "warning", "problem"]
    detail: str
    fix: str = Field(default="", description="What to do, in one sentence; empty where all is well.")


class DoctorAnswer(Record):
    """All checks of `nnunet-mcp doctor`."""

    checks: tuple[Check, ...]
    problems: int
    warnings: int
    next_step: str


class SystemRequest(Request):
    """Ask about the machine."""


class Probe(Record):
    """What a process in nnU-Net's Python finds there."""

    python: str
    nnunetv2: str | None = None
    torch: str | None = None
    torchvision: str | None = None
    cuda: int = 0
    mps: bool = False
    trainers: bool = False
    errors: dict[str, str]
    differences: tuple[str, ...] = Field(default=(), description="What is not as nnU-Net's release has it.")


class DoctorRequest(Request):
    """Look at everything that a training needs."""

    quick: bool = Field(
        default=False,
        description="Leave out what takes seconds: loading PyTorch, and starting the server as a client would.",
    )

"""What there is to say of a tool, once: clients, the terminal, the documents and the snapshots follow from it.

The declarations stand in the `__init__.py` of each noun's folder. They name the function and do not import it: a client
waits for the server's start in every chat, and a person for the command's.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

# "replaces": with overwrite=true what an earlier run has made is lost.
Effect = Literal["reads", "starts", "replaces", "stops"]


@dataclass(frozen=True)
class Steps:
    """How a tool counts while it works: its function takes `tell(done, total)`."""

    word: str  # what is counted, e.g. "case"
    every: int = 1  # how many of them make it worth a message
    stoppable: bool = False  # whether it may be stopped between two of them, because nothing is half written then


@dataclass(frozen=True)
class Command:
    """A tool's subcommand in the terminal."""

    name: str
    help: str
    words: tuple[str, ...] = ()  # the fields that may be given without their flag, in this order
    watch: str = ""  # what --watch does, where a run can be followed
    waits: str = ""  # the field that agents wait with: people take --watch
    more: Mapping[str, Any] = field(default_factory=dict)  # what its function gets besides, from a person
    first: Callable[[Any], str] | None = None  # what a person is told of a request that takes a while
    # Where the terminal has more to ask than a chat: another request, and the function that answers it.
    request: type[BaseModel] | None = None
    function: str = ""


@dataclass(frozen=True)
class Tool:
    """A tool: `function(request, settings)` in "module:name" below `tools/`, and everything that is told of it."""

    name: str
    title: str
    effect: Effect
    request: type[BaseModel]
    answer: type[BaseModel]
    description: str
    function: str
    command: Command | None = None
    steps: Steps | None = None
    waits: bool = False  # the function is a coroutine and takes `say(percent, text)`
    heeds_read_only: bool = False  # the function takes `read_only`
    text: Callable[[Any], str] | None = None  # the answer in words for people, beside its fields
    page: Literal["", "shows", "feeds"] = ""  # the dashboard's page: shows it, or answers only to it
    described_by: type[BaseModel] | None = None  # fields that another tool's schema describes already

    @property
    def changes(self) -> bool:
        """Whether it is more than a look."""
        return self.effect != "reads"

    def load(self) -> Callable[..., Any]:
        """The function; its module is imported with the first call."""
        return load(self.function)

    def __call__(self, request: BaseModel, settings: Any, **more: Any) -> Any:
        """Call it, unless it waits: a coroutine is awaited by whoever has an event loop."""
        return self.load()(request, settings, **more)


def load(function: str) -> Callable[..., Any]:
    """The function of "module:name" below `tools/`."""
    module, name = function.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found
